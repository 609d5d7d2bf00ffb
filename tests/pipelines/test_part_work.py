"""Work on parts: who does it, and what is kept. `test_store_writer.py` has it killed."""

import errno
import fcntl
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tfpt.pipelines import Cleaning, clean_documents, part_work, write_store


def parts(*sizes):
    return [SimpleNamespace(num_bytes=size, identity=str(size)) for size in sizes]


def interrupted(partial, plan, prepare=None):
    with part_work.begun(partial, plan, prepare):
        part_work.part_folder(partial, 7).mkdir()  # was not there
        raise KeyboardInterrupt


def test_little_text_is_for_one_process_and_no_part_for_two():
    assert part_work.num_processes(None, parts(1, 2, 3)) == 1
    assert part_work.num_processes(2, parts(1, 2, 3)) == 2
    assert part_work.num_processes(5, parts(1, 2, 3)) == 3
    assert part_work.num_processes(None, parts(*[1 << 30] * 999)) == os.cpu_count()
    assert part_work.num_processes(None, []) == 1
    assert part_work.num_processes(None, [object()]) == 1
    with pytest.raises(ValueError, match="`num_workers` must be at least 1; received 0"):
        part_work.check_num_workers(0)


def test_a_source_that_cannot_be_told_again_has_no_plan():
    assert part_work.plan_for(parts(1), answer=42)["parts"] == ["1"]
    assert part_work.plan_for([[("a",)]], answer=42) is None


def test_the_folder_is_prepared_once_and_kept_when_interrupted(tmp_path):
    partial = part_work.partial_folder(tmp_path / "inner" / "made")
    plan = part_work.plan_for(parts(1), answer=42)
    prepared = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(partial, plan, prepared.append)
    with part_work.begun(partial, plan, prepared.append):
        assert (partial / "parts" / "00007").is_dir()
    assert prepared == [partial]
    assert not partial.exists()


def test_without_a_plan_nothing_is_gone_on_with(tmp_path):
    partial = tmp_path / "made.partial"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            interrupted(partial, None)
        assert not partial.exists()


def test_an_error_removes_the_folder_but_not_that_of_another_call(tmp_path):
    partial = tmp_path / "made.partial"
    plan = part_work.plan_for(parts(1), answer=42)
    with pytest.raises(ValueError, match="broken"), part_work.begun(partial, plan):
        raise ValueError("broken")
    assert not partial.exists()
    with pytest.raises(KeyboardInterrupt):
        interrupted(partial, plan)
    for other in (
        part_work.plan_for(parts(2), answer=42),
        part_work.plan_for(parts(1), answer=43),
        part_work.plan_for(parts(1), question="?"),
    ):
        with (
            pytest.raises(FileExistsError, match="Remove it to begin anew"),
            part_work.begun(partial, other),
        ):
            pytest.fail("it was begun")
    assert partial.exists()


def test_what_is_moved_is_told_part_by_part():
    moved = []
    work = part_work.work_here
    work({3: parts(10)[0], 4: [1, 2]}, lambda part, number: number, lambda *a: moved.append(a))
    assert moved == [(10, 3), (0, 4)]


@pytest.mark.parametrize("path", ["gs://bucket/made", Path("s3://bucket/made")])
def test_a_bucket_is_not_taken_for_a_folder(path, tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"(gs|s3)://bucket/made: a store is written to a folder"):
        write_store([("w1",)], tokenizer, path)
    with pytest.raises(ValueError, match="copy the result to the bucket"):
        clean_documents([("w1",)], path, Cleaning(min_words=1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_work_goes_on_without(tmp_path, monkeypatch, number):
    monkeypatch.setattr(fcntl, "flock", raises(OSError(number, os.strerror(number))))
    with part_work.begun(tmp_path / "made.partial", None):
        assert (tmp_path / "made.partial" / "parts").is_dir()


def test_another_error_of_a_lock_names_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", raises(OSError(errno.EIO, "Input/output error")))
    with (
        pytest.raises(OSError, match=r"Input/output error: .*made\.partial/lock"),
        part_work.begun(tmp_path / "made.partial", None),
    ):
        pytest.fail("it was begun")


def raises(error):
    def function(*arguments):
        raise error

    return function
