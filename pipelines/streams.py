"""Files as streams of bytes, decompressed: gzip, bzip2, xz and zstd, told by the ending.

The first bytes must agree with the ending. Several compressed streams in one file are read as one.
Memory is bounded, whatever a file holds: pieces are read and decompressed as they are asked for.
"""

import bz2
import contextlib
import dataclasses
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from tfpt.pipelines.files import READ_BYTES, file_size, open_file

Advance = Callable[[int], None]

# The most memory, in bytes, that xz may take: four times what its strongest preset needs.
_XZ_MEMORY = 1 << 28


class _GzipDecompressor:
    """zlib's decompressor with the interface that those of bz2, lzma and zstd share."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)  # gzip's header and checksum

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


def _zstd_decompressor() -> Any:
    from backports import zstd

    return zstd.ZstdDecompressor()


@dataclasses.dataclass(frozen=True)
class _Compression:
    name: str
    magic: tuple[bytes, ...]  # what a file begins with
    decompressor: Callable[[], Any]


_COMPRESSIONS = {
    ".gz": _Compression("gzip", (b"\x1f\x8b",), _GzipDecompressor),
    # The block's own mark keeps a text that begins with "BZh" from looking compressed.
    ".bz2": _Compression(
        "bzip2",
        tuple(b"BZh%d" % i + mark for i in range(1, 10) for mark in (b"1AY&SY", b"\x17rE8P\x90")),
        bz2.BZ2Decompressor,
    ),
    ".xz": _Compression(
        "xz",
        (b"\xfd7zXZ\0",),
        lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY),
    ),
    # A file may begin with a frame that is to be skipped, as parallel zstd writes it.
    ".zst": _Compression(
        "zstd",
        (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + i]) + b"\x2a\x4d\x18" for i in range(16))),
        _zstd_decompressor,
    ),
}
COMPRESSED_ENDINGS = tuple(_COMPRESSIONS)


@dataclasses.dataclass(frozen=True)
class Extent:
    """A file, or a stretch of it that can be read on its own."""

    path: str
    num_bytes: int  # to read, as they lie on the disk
    start: int = 0  # the first byte; of Parquet, the first row group
    end: int | None = None  # the first byte (row group) behind it; None: it goes to the file's end


def whole_file(path: str) -> Extent:
    """The extent of a file from its first to its last byte."""
    return Extent(path, file_size(path))


def split_ending(path: str) -> tuple[str, str]:
    """The ending that tells the format, and that of the compression: ".jsonl", ".gz"; lower case.

    Either is empty where there is none.
    """
    rest, ending = os.path.splitext(path.lower())
    if ending in _COMPRESSIONS:
        return os.path.splitext(rest)[1], ending
    return ending, ""


def is_compressed(path: str) -> bool:
    """Whether a file's name ends as that of a compressed one."""
    return split_ending(path)[1] != ""


@contextlib.contextmanager
def open_stream(extent: Extent, advance: Advance | None = None) -> Iterator[io.BufferedReader]:
    """Open a file, or a stretch of an uncompressed one, as a stream of its decompressed bytes.

    Args:
        extent: What to read.
        advance: Called with the number of bytes that were read: of a compressed file, compressed
            ones.

    Raises:
        ValueError: The first bytes are not of the compression that the ending tells. While
            reading: the compressed file is damaged or cut off.
    """
    with open_file(extent.path) as file:
        file.seek(extent.start)
        stretch = _buffered(_Stretch(file, extent, advance))
        compression = _compression(extent, stretch)
        if compression is None:
            yield stretch
        else:
            yield _buffered(_Decompressed(stretch, compression, extent))


def _buffered(raw: Any) -> io.BufferedReader:
    return io.BufferedReader(raw, READ_BYTES)


class _Stretch(io.RawIOBase):
    """The bytes of an extent; tells how many were read."""

    def __init__(self, file: io.BufferedReader, extent: Extent, advance: Advance | None):
        super().__init__()
        self._file, self._extent = file, extent
        self._left = None if extent.end is None else extent.end - extent.start
        self._advance = advance or (lambda _: None)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        wanted = len(buffer) if self._left is None else min(len(buffer), self._left)
        num_bytes = self._file.readinto1(memoryview(buffer)[:wanted])
        if self._left is not None:
            if wanted and not num_bytes:
                raise ValueError(
                    f"{self._extent.path} ends before byte {self._extent.end:,}: it became shorter "
                    "after it was first looked at. Read it again."
                )
            self._left -= num_bytes
        self._advance(num_bytes)
        return num_bytes


def _compression(extent: Extent, stretch: io.BufferedReader) -> _Compression | None:
    """The compression by a file's ending, which its first bytes must have."""
    if extent.start:
        return None
    path = extent.path
    ending = split_ending(path)[1]
    head = stretch.peek(16)[:16]
    if ending:
        compression = _COMPRESSIONS[ending]
        if not head:
            raise ValueError(f"{path} is empty, so it is no {compression.name} file; copy it anew.")
        # A file of a few bytes may be cut off within them.
        if head.startswith(compression.magic) or any(
            magic.startswith(head) for magic in compression.magic
        ):
            return compression
    for other, compression in _COMPRESSIONS.items():
        if head.startswith(compression.magic):
            raise ValueError(
                f"{path} is compressed by {compression.name}, as its first bytes tell, but its "
                f"name does not end in {other}. Rename it."
            )
    if ending:
        raise ValueError(
            f"{path} is no {_COMPRESSIONS[ending].name} file: it begins with the bytes "
            f"{head[:4].hex(' ')}. Where it is not compressed, take {ending} off its name."
        )
    return None


class _Decompressed(io.RawIOBase):
    """The decompressed bytes of a file.

    Python's own file classes end silently at a second stream of bzip2 or xz that is damaged at its
    beginning; this one does not.
    """

    def __init__(self, file: io.BufferedReader, compression: _Compression, extent: Extent):
        super().__init__()
        self._file, self._compression = file, compression
        self._path, self._size = extent.path, extent.num_bytes
        self._stream = compression.decompressor()
        self._num_streams = 1
        self._num_read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = b""
        while not data:
            if self._stream.eof:
                compressed = self._next_stream()
                if not compressed:
                    return 0
            elif self._stream.needs_input:
                compressed = self._read()
                if not compressed:
                    raise ValueError(
                        f"{self._path} is cut off: it ends at byte {self._size:,}, within its "
                        f"{self._compression.name} data. Copy it anew."
                    )
            else:
                compressed = b""
            data = self._decompress(compressed, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _read(self) -> bytes:
        data = self._file.read1(READ_BYTES)
        self._num_read += len(data)
        return data

    def _next_stream(self) -> bytes:
        """The first bytes behind the end of a stream; none where the file ends, too."""
        compressed = self._stream.unused_data.lstrip(b"\0")  # streams may be padded
        while not compressed:
            data = self._read()
            if not data:
                return b""
            compressed = data.lstrip(b"\0")
        self._stream = self._compression.decompressor()
        self._num_streams += 1
        return compressed

    def _decompress(self, compressed: bytes, max_length: int) -> bytes:
        try:
            return self._stream.decompress(compressed, max_length)
        # zlib's, zstd's and lzma's errors share no class, and bzip2's is a bare OSError.
        except Exception as error:
            where = f"before byte {self._num_read:,} of {self._size:,}"
            stream = f", in the {self._num_streams}. stream" if self._num_streams > 1 else ""
            raise ValueError(
                f"{self._path} is damaged {where}{stream}: its {self._compression.name} data "
                f"cannot be read ({error}). Copy it anew."
            ) from None
