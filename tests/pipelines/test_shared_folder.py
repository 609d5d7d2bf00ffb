"""A folder in a bucket: what goes wrong there is told as of a folder of this machine."""

import pytest
import tensorflow as tf
from click.testing import CliRunner

from tfpt.cli import main
from tfpt.pipelines import shared_folder


def refuse(*arguments, **named):
    raise tf.errors.PermissionDeniedError(None, None, "no storage.objects.create")


def no_bucket(*arguments, **named):
    raise tf.errors.NotFoundError(None, None, "The specified bucket does not exist")


def test_files_are_written_read_and_removed(remote, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.txt").write_text("1")
    path = f"{remote.root}/folder"
    shared_folder.publish(tmp_path / "a", path, "one.txt")
    shared_folder.write_text(f"{path}/two.txt", "2")
    shared_folder.fetch({path: tmp_path / "b"})
    assert {file.name: file.read_text() for file in (tmp_path / "b").iterdir()} == {
        "one.txt": "1",
        "two.txt": "2",
    }
    for _ in range(2):
        shared_folder.remove(path)
        assert not shared_folder.exists(f"{path}/two.txt")
    with pytest.raises(FileNotFoundError, match=f"There is no file {path}/two.txt"):
        shared_folder.read_text(f"{path}/two.txt")


def test_what_may_not_be_written_is_named(remote, tmp_path, monkeypatch):
    (tmp_path / "one.txt").touch()
    path = f"{remote.root}/folder"
    for function in ("GFile", "copy", "rmtree"):
        monkeypatch.setattr(tf.io.gfile, function, refuse)
    for write in (
        lambda: shared_folder.write_text(path, "text"),
        lambda: shared_folder.publish(tmp_path, path, "one.txt"),
        lambda: shared_folder.remove(path),
    ):
        with pytest.raises(PermissionError, match=f"^{path} may not be written: no storage"):
            write()
    monkeypatch.setattr(tf.io.gfile, "listdir", refuse)
    with pytest.raises(PermissionError, match=f"^{path} may not be read: no storage"):
        shared_folder.fetch({path: tmp_path / "b"})


def test_a_bucket_that_is_not_there_is_named(remote, monkeypatch):
    monkeypatch.setattr(tf.io.gfile, "GFile", no_bucket)
    with pytest.raises(FileNotFoundError, match="could not be written: The specified bucket does"):
        shared_folder.write_text(f"{remote.root}/a", "text")


def test_an_address_that_tensorflow_does_not_know_is_one_sentence(tokenizer, write, tmp_path):
    vocabulary = str(tokenizer.save(tmp_path / "vocab.txt"))
    command = ["store", str(write("a.txt", "w1")), "--vocabulary", vocabulary]
    options = ["--out", "nowhere://bucket/store", "--beam=--runner=DirectRunner"]
    result = CliRunner().invoke(main, [*command, *options])
    assert result.exit_code == 1
    assert "Error: nowhere://bucket/store/store.json: TensorFlow reads no such" in result.stderr
