"""Files by path, folder or glob: on this machine, or elsewhere through `tf.io.gfile`.

A name with "://", as gs://bucket/a.txt, goes through TensorFlow's file systems; others are paths
of this machine. An error is an OSError that names the file, wherever it lies.
"""

import contextlib
import fnmatch
import glob
import io
import os
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

# Bytes read from a file at once.
READ_BYTES = 1 << 16


def is_remote(name: str) -> bool:
    """Whether a name goes through `tf.io.gfile`."""
    return "://" in name


def find_files(name: str, endings: Sequence[str], compressions: Sequence[str] = ()) -> list[str]:
    """The files that a path, a folder or a glob stands for, sorted by path.

    Args:
        name: A file; a folder: the files below it that end in one of `endings`; or a glob, in which
            `**` stands for any folders. Names that begin with a dot are passed over, unless the
            glob has the dot too.
        endings: Of the files to take from a folder, in lower case.
        compressions: What may come behind these.

    Raises:
        FileNotFoundError: There is no such file, the folder holds none, or none matches the glob.
        PermissionError: The folder, or one below it, may not be read.
    """
    remote = is_remote(name)
    name = name if remote else os.path.expanduser(name)
    if is_folder(name):
        wanted = tuple(ending + last for ending in endings for last in ("", *compressions))
        paths = list_files(name, recursive=True)
        paths = [path for path in paths if path.lower().endswith(wanted)]
        nothing = (
            f"The folder {name} holds no file that ends in {', '.join(endings)} (or that and "
            f"{', '.join(compressions)}). For other endings use a glob"
        )
    elif is_file(name) or not glob.has_magic(name):
        paths = [name] if is_file(name) else []
        nothing = f"There is no file {name}"
    else:
        paths = match_files(name)
        nothing = f"No file matches {name}"
    if not paths:
        where = "" if remote or os.path.isabs(name) else f" (looked in {os.getcwd()})"
        raise FileNotFoundError(f"{nothing}{where}. Check the path; quote a glob in the shell.")
    return paths


def list_files(folder: str, *, recursive: bool = False) -> list[str]:
    """The files in a folder (or also in those below it), sorted by path; there may be none.

    Names that begin with a dot are passed over.

    Raises:
        PermissionError: A folder may not be read.
    """
    root = folder.rstrip("/") or folder
    if is_remote(folder):
        return match_files(f"{root}/**/*" if recursive else f"{root}/*")
    # A glob passes over a folder that may not be read.
    paths = []
    for where, folders, names in os.walk(root, onerror=_raise, followlinks=True):
        folders[:] = [one for one in folders if recursive and not one.startswith(".")]
        paths += [os.path.join(where, name) for name in names if not name.startswith(".")]
    return sorted(filter(os.path.isfile, paths))


def _raise(error: OSError) -> None:
    # What was removed meanwhile, or never there, holds nothing.
    if not isinstance(error, FileNotFoundError):
        raise error


def match_files(pattern: str) -> list[str]:
    """The files that match a glob, sorted by path; there may be none."""
    if is_remote(pattern):
        return sorted(_remote_matches(pattern))
    return sorted(path for path in glob.iglob(pattern, recursive=True) if os.path.isfile(path))


def is_file(path: str) -> bool:
    """Whether there is a file at `path`."""
    if not is_remote(path):
        return os.path.isfile(path)
    with remote_errors(path):
        return bool(_gfile().exists(path)) and not _gfile().isdir(path)


def is_folder(path: str) -> bool:
    """Whether there is a folder at `path`."""
    if not is_remote(path):
        return os.path.isdir(path)
    with remote_errors(path):
        # `exists` names a scheme that TensorFlow does not know, `isdir` passes over it.
        return bool(_gfile().exists(path)) and bool(_gfile().isdir(path))


def file_size(path: str) -> int:
    """The bytes of a file."""
    if not is_remote(path):
        return os.path.getsize(path)
    with remote_errors(path):
        return int(_gfile().stat(path).length)


def file_version(path: str) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds: other ones mean another content."""
    if not is_remote(path):
        status = os.stat(path)
        return status.st_size, status.st_mtime_ns
    with remote_errors(path):
        remote = _gfile().stat(path)
        return int(remote.length), int(remote.mtime_nsec)


def open_file(path: str) -> io.BufferedReader:
    """Open a file to read its bytes; it can be sought in."""
    raw: Any = _RemoteFile(path) if is_remote(path) else io.FileIO(path)
    return io.BufferedReader(raw, READ_BYTES)


@contextlib.contextmanager
def remote_errors(path: str, done: str = "read") -> Iterator[None]:
    """Raise TensorFlow's errors as those that Python's own files raise.

    Args:
        path: To name.
        done: What could not be done to it, "read" or "written".
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.NotFoundError as error:
        if done == "written":  # there is no such bucket
            raise FileNotFoundError(f"{path} could not be written: {_reason(error)}") from None
        raise FileNotFoundError(f"There is no file {path}. Check the path.") from None
    except tf.errors.UnimplementedError:
        known = ", ".join(f"{scheme}://" for scheme in _gfile().get_registered_schemes() if scheme)
        raise ValueError(
            f"{path}: TensorFlow reads no such address; it knows {known}. Copy the file to this "
            "machine, or import a library that adds the file system, such as tensorflow-io."
        ) from None
    except (tf.errors.PermissionDeniedError, tf.errors.UnauthenticatedError) as error:
        raise PermissionError(f"{path} may not be {done}: {_reason(error)}") from None
    except tf.errors.OpError as error:
        raise OSError(f"{path} could not be {done}: {_reason(error)}") from None


class _RemoteFile(io.RawIOBase):
    """A file of `tf.io.gfile` as a raw stream of Python's."""

    def __init__(self, path: str):
        super().__init__()
        self.name = path
        with remote_errors(path):
            self._file = _gfile().GFile(path, "rb")
            self._size = int(self._file.size())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with remote_errors(self.name):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self._size}[whence]
        with remote_errors(self.name):
            self._file.seek(origin + offset)
        return origin + offset

    def tell(self) -> int:
        with remote_errors(self.name):
            return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _gfile() -> Any:
    import tensorflow as tf

    return tf.io.gfile


def _reason(error: Any) -> str:
    """What TensorFlow says, in one line."""
    return " ".join(str(error.message or type(error).__name__).split())[:300]


def _remote_matches(pattern: str) -> list[str]:
    """The files that match a glob, as Python's `glob` matches those of this machine.

    `tf.io.gfile.glob` has no `**`, and takes names that begin with a dot.
    """
    scheme, rest = pattern.split("://", 1)
    steps = [step for step in rest.split("/") if step]
    fixed = next(i for i, step in enumerate([*steps, "*"]) if glob.has_magic(step))
    root = f"{scheme}://{'/'.join(steps[:fixed])}"
    steps = steps[fixed:]
    found = []
    with remote_errors(pattern):
        for folder, folders, names in _gfile().walk(root):
            inner = [step for step in folder.removeprefix(root).split("/") if step]
            found += [
                posixpath.join(folder, name) for name in names if _matches([*inner, name], steps)
            ]
            if "**" not in steps and len(inner) + 1 >= len(steps):
                folders.clear()  # Nothing below can match.
    return found


def _matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the steps of a path match those of a glob."""
    if not pattern or not path:
        return not path and all(step == "**" for step in pattern)
    name, step = path[0], pattern[0]
    hidden = name.startswith(".") and not step.startswith(".")
    if step == "**":
        return _matches(path, pattern[1:]) or (not hidden and _matches(path[1:], pattern))
    return not hidden and fnmatch.fnmatchcase(name, step) and _matches(path[1:], pattern[1:])
