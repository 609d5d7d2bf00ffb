"""Files by path, folder and glob, on this machine and through `tf.io.gfile`."""

import io
import os

import pytest

from tfpt.pipelines import files

NAMES = (
    "b.txt",
    "a.TXT",
    "notes.md",
    "in/c.txt",
    "in/deep/d.txt",
    "in/wiki[1].txt",
    ".hidden/e.txt",
    "in/.f.txt",
)


@pytest.fixture(params=["local", "remote"])
def tree(request, write, tmp_path):
    """The root of a folder with the files of `NAMES`."""
    if request.param == "remote":
        write = request.getfixturevalue("remote")
    for name in NAMES:
        write(name, name)
    return write.root if request.param == "remote" else str(tmp_path)


def found(name, root):
    return [path.removeprefix(f"{root}/") for path in files.find_files(name, (".txt",), (".gz",))]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["a.TXT", "b.txt", "in/c.txt", "in/deep/d.txt", "in/wiki[1].txt"]),
        ("/in/deep", ["in/deep/d.txt"]),
        ("/in/deep/", ["in/deep/d.txt"]),
        ("/*.txt", ["b.txt"]),
        ("/[ab].*", ["a.TXT", "b.txt"]),
        ("/?.txt", ["b.txt"]),
        ("/*/*.txt", ["in/c.txt", "in/wiki[1].txt"]),
        ("/**/*.txt", ["b.txt", "in/c.txt", "in/deep/d.txt", "in/wiki[1].txt"]),
        ("/**/deep/*", ["in/deep/d.txt"]),
        ("/in/**", ["in/c.txt", "in/deep/d.txt", "in/wiki[1].txt"]),
        ("/in/.f*", ["in/.f.txt"]),
        ("/.hidden/*", [".hidden/e.txt"]),
        ("/in/wiki[1].txt", ["in/wiki[1].txt"]),
        ("/notes.md", ["notes.md"]),
    ],
)
def test_paths_folders_and_globs_are_found_alike_everywhere(tree, pattern, expected):
    assert found(tree + pattern, tree) == expected


def test_a_folder_gives_compressed_files_too(write, tmp_path):
    for name in ("a.txt.gz", "b.gz", "c.txt.xz"):
        write(name, "")
    assert found(str(tmp_path), tmp_path) == ["a.txt.gz"]


def test_what_is_not_there_is_named(tree, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"There is no file .*/c\.txt\. Check the path"):
        files.find_files(f"{tree}/c.txt", (".txt",))
    with pytest.raises(FileNotFoundError, match=r"No file matches .*/\*\.gz\. .*quote a glob"):
        files.find_files(f"{tree}/*.gz", (".txt",))
    with pytest.raises(FileNotFoundError, match=r"The folder .* ends in \.csv .*use a glob"):
        files.find_files(tree, (".csv",))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=rf"No file matches c\.txt\* \(looked in {tmp_path}"
    ):
        files.find_files("c.txt*", (".txt",))


def test_the_home_folder_may_be_abbreviated(write, tmp_path, monkeypatch):
    path = write("a.txt", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.find_files("~/a.txt", ()) == [str(path)]


def test_a_file_is_read_and_sought_in_alike_everywhere(tree):
    path = f"{tree}/in/c.txt"
    assert files.file_size(path) == 8
    with files.open_file(path) as file:
        assert file.read(3) == b"in/"
        assert file.tell() == 3
        assert file.seek(-4, os.SEEK_END) == 4
        assert file.read() == b".txt"
        assert file.read() == b""
        assert file.seek(1) == 1
        assert file.seek(1, io.SEEK_CUR) == 2
        assert file.read(1) == b"/"


def test_the_errors_of_other_file_systems_are_those_of_files(remote):
    path = remote("a.txt", "")
    with pytest.raises(FileNotFoundError, match=r"There is no file .*/b\.txt"):
        files.open_file(f"{remote.root}/b.txt")
    with pytest.raises(FileNotFoundError, match=r"There is no file .*/b\.txt"):
        files.file_size(f"{remote.root}/b.txt")
    with pytest.raises(OSError, match=r"ram://\w+ could not be read: .*directory"):
        files.open_file(remote.root).read()
    for name in ("nowhere://a/b.txt", "nowhere://a/*.txt"):
        with pytest.raises(ValueError, match=r"nowhere://.*reads no such address.*ram://.*gs://"):
            files.find_files(name, (".txt",))
    assert files.find_files(path, ()) == [path]


def test_a_folder_that_may_not_be_read_is_named(write, tmp_path, monkeypatch):
    """Its files would be missing without a word."""
    write("texts/a.txt", "a")
    write("texts/closed/b.txt", "b")
    look = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", scandir)  # root may read everything
    for folder in ("texts", "texts/closed"):
        with pytest.raises(PermissionError, match="closed"):
            files.find_files(str(tmp_path / folder), (".txt",))
