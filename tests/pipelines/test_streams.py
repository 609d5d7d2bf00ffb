"""Files as streams of bytes: compressions, damage, and memory."""

import bz2
import gzip
import lzma
import tracemalloc

import numpy as np
import pytest
from backports import zstd

from tfpt.pipelines.streams import Extent, open_stream, split_ending, whole_file

COMPRESS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
}
NAMES = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
ENDINGS = pytest.mark.parametrize("ending", COMPRESS)

# Half of it repeats, half is noise: about 300 kB are left when it is compressed.
DATA = b"".join(b"line %d\n" % i for i in range(20_000)) + np.random.default_rng(0).bytes(300_000)


def read(path, **extent):
    """All bytes of a file, in small reads."""
    stretch = Extent(str(path), 0, **extent) if extent else whole_file(str(path))
    with open_stream(stretch) as file:
        return b"".join(iter(lambda: file.read(10_000), b""))


@ENDINGS
def test_what_was_compressed_is_read(write, ending):
    compress = COMPRESS[ending]
    assert read(write(f"a.txt{ending}", compress(DATA))) == DATA
    assert read(write(f"b.txt{ending.upper()}", compress(b""))) == b""
    assert read(write("c.txt", DATA)) == DATA


@ENDINGS
def test_several_streams_are_one(write, ending):
    compress = COMPRESS[ending]
    parts = [compress(DATA[:10]), compress(b""), compress(DATA[10:]), b"\0" * 8]
    assert read(write(f"a{ending}", b"".join(parts))) == DATA


def test_frames_that_zstd_skips_are_skipped(write):
    skipped = b"\x53\x2a\x4d\x18\x03\x00\x00\x00abc"
    parts = [skipped, zstd.compress(DATA[:10]), skipped, zstd.compress(DATA[10:])]
    assert read(write("a.zst", b"".join(parts))) == DATA


@ENDINGS
def test_other_file_systems_are_read_alike(remote, ending):
    assert read(remote(f"a{ending}", COMPRESS[ending](DATA))) == DATA
    assert read(remote("a", DATA)) == DATA


@ENDINGS
def test_the_bytes_that_are_told_are_those_on_the_disk(write, ending):
    for path in (write("a", DATA), write(f"a{ending}", COMPRESS[ending](DATA))):
        told = []
        with open_stream(whole_file(str(path)), told.append) as file:
            file.read(1000)
            assert 0 < sum(told) <= path.stat().st_size
            file.read()
        assert sum(told) == path.stat().st_size


def test_a_stretch_has_its_own_bytes(write):
    path = write("a", DATA)
    assert read(path, start=100, end=70_000) == DATA[100:70_000]
    assert read(path, start=500_000) == DATA[500_000:]
    assert read(path, start=7, end=7) == b""


def test_a_file_that_became_shorter_is_named(write):
    path = write("a.txt", b"x" * 100)
    with pytest.raises(ValueError, match=r"a\.txt ends before byte 200: it became shorter"):
        read(path, start=50, end=200)


@ENDINGS
@pytest.mark.parametrize("missing", [1, 20, 50_000, -5])
def test_a_file_that_is_cut_off_is_named(write, ending, missing):
    data = COMPRESS[ending](DATA)[:-missing]
    path = write(f"a{ending}", data)
    message = rf"a{ending} is cut off: it ends at byte {len(data):,}, within its {NAMES[ending]} "
    with pytest.raises(ValueError, match=message):
        read(path)


@ENDINGS
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_damaged_file_is_named_with_about_its_place(write, ending, share):
    data = bytearray(COMPRESS[ending](DATA))
    place = int(len(data) * share)
    data[place] ^= 0xFF
    with pytest.raises(ValueError, match=rf"a{ending} is (damaged before byte|cut off)") as error:
        read(write(f"a{ending}", bytes(data)))
    if "damaged" in str(error.value):
        told = int(str(error.value).split(" before byte ")[1].split(" of ")[0].replace(",", ""))
        assert place <= told
        assert f" of {len(data):,}: its {NAMES[ending]} data cannot be read (" in str(error.value)


@ENDINGS
def test_nothing_else_may_come_behind_the_data(write, ending):
    path = write(f"a{ending}", COMPRESS[ending](DATA) + b"and something more")
    with pytest.raises(ValueError, match=r"is damaged .* in the 2\. stream"):
        read(path)


@ENDINGS
def test_a_second_stream_that_is_damaged_at_its_beginning_is_not_left_out(write, ending):
    first, second = COMPRESS[ending](DATA), bytearray(COMPRESS[ending](DATA))
    second[1] ^= 0xFF
    with pytest.raises(ValueError, match=r"is damaged .* in the 2\. stream"):
        read(write(f"a{ending}", first + bytes(second)))


@ENDINGS
def test_the_first_bytes_must_agree_with_the_ending(write, ending):
    other = next(name for name in COMPRESS if name != ending)
    data = COMPRESS[ending](DATA)
    rename = rf"compressed by {NAMES[ending]}.* does not end in {ending}\. Rename it"
    for name in ("a.txt", f"a{other}"):
        with pytest.raises(ValueError, match=rf"{name} is {rename}"):
            read(write(name, data))
    with pytest.raises(
        ValueError, match=rf"is no {NAMES[ending]} file: .* 66 69 72 73.* take {ending}"
    ):
        read(write(f"a{ending}", b"first words"))
    with pytest.raises(ValueError, match=rf"is empty, so it is no {NAMES[ending]} file"):
        read(write(f"a{ending}", b""))


def test_a_text_may_begin_as_bzip2_does(write):
    assert read(write("a.txt", b"BZh9 is a mark.")) == b"BZh9 is a mark."


@ENDINGS
def test_a_file_that_grows_a_thousandfold_is_not_held_in_memory(write, ending):
    path = write(f"a{ending}", COMPRESS[ending](bytes(1 << 26)))
    tracemalloc.start()
    try:
        with open_stream(whole_file(str(path))) as file:
            assert sum(map(len, iter(lambda: file.read(1 << 16), b""))) == 1 << 26
        # xz looks back over 8 MB.
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_the_ending_is_told_from_that_of_the_compression():
    assert split_ending("wiki/A.JSONL.GZ") == (".jsonl", ".gz")
    assert split_ending("wiki.d/a") == ("", "")
    assert split_ending("gs://b/a.txt") == (".txt", "")
    assert split_ending("a.zst") == ("", ".zst")
