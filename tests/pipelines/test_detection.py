"""The encoding of a file, told by its bytes."""

# ruff: noqa: RUF001 (characters that look like others are what is tested)

import json

import pytest

from tfpt.pipelines.detection import detect_encoding

# Short texts in the languages of the encodings, and what each encoding may be detected as.
TEXTS = {
    "en": "It cost £5 at the café.\nIt was \u201cnaïve\u201d to pay.\n",
    "de": "Schöne Grüße aus Köln.\nDie Mädchen üben Flöte.\n",
    "fr": "L'été dernier, où étais-tu allé ?\nJ'ai déjà mangé.\n",
    "es": "¿Dónde está el niño?\nLa mañana es fría.\n",
    "pl": "Zażółć gęślą jaźń.\nDzień dobry państwu.\n",
    "ru": "Привет, мир!\nЭто простой текст.\n",
    "zh": "學而時習之，不亦說乎？\n人不知而不慍，不亦君子乎？\n",
    "ja": "吾輩は猫である。\n名前はまだ無い。\n",
    "ko": "안녕하세요.\n오늘 날씨가 좋습니다.\n",
}
ENCODINGS = {
    "en": ["cp1252"],
    "de": ["latin-1", "cp1252"],
    "fr": ["latin-1", "cp1252"],
    "es": ["latin-1", "cp1252"],
    "pl": ["cp1250", "iso8859-2"],
    "ru": ["cp1251", "koi8-r", "iso8859-5"],
    "zh": ["gb18030", "gbk", "big5"],
    "ja": ["shift_jis", "euc_jp"],
    "ko": ["euc_kr"],
}
UNICODE = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
CASES = [
    (language, encoding)
    for language, encodings in ENCODINGS.items()
    for encoding in (*encodings, *UNICODE)
]


@pytest.mark.parametrize(("language", "encoding"), CASES)
@pytest.mark.parametrize("times", [1, 500])
def test_a_text_is_detected_in_the_encodings_of_its_language(write, language, encoding, times):
    text = TEXTS[language] * times
    path = write("a.txt", text.encode(encoding))
    detected = detect_encoding(str(path))
    assert path.read_bytes().decode(detected).removeprefix("\ufeff") == text
    assert detect_encoding(str(path)) == detected


def test_ascii_is_utf_8(write):
    assert detect_encoding(str(write("a.txt", "plain words\n" * 10_000))) == "utf-8"
    assert detect_encoding(str(write("a.txt", ""))) == "utf-8"


def test_what_comes_late_is_seen(write):
    text = "plain words\n" * 100_000 + TEXTS["ru"]
    assert detect_encoding(str(write("a.txt", text.encode("cp1251")))) == "cp1251"
    assert detect_encoding(str(write("a.txt", text))) == "utf-8"


def test_utf_8_with_a_damaged_place_stays_utf_8(write):
    """As another encoding, all the rest of it would be wrong without an error."""
    good = TEXTS["ru"].encode() * 20
    for bad in (b"\xff", "é".encode("latin-1"), "п".encode()[:1], b"\0"):
        path = write("a.txt", good + bad + good)
        assert detect_encoding(str(path)) == "utf-8"
    assert detect_encoding(str(write("a.txt", good[:-2]))) == "utf-8"


def test_a_binary_file_is_refused(write):
    image = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)) * 20
    with pytest.raises(ValueError, match=r"a\.png holds NUL bytes, .* neither UTF-8 nor UTF-16"):
        detect_encoding(str(write("a.png", image)))


def test_compressed_and_remote_files_are_looked_into(write, remote):
    import gzip

    text = TEXTS["ja"].encode("euc_jp")
    assert detect_encoding(str(write("a.txt.gz", gzip.compress(text)))) == "euc_jp"
    assert detect_encoding(remote("a.txt", text)) == "euc_jp"


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16-le", "utf-16-be", "utf-8"])
def test_classical_chinese_is_detected(write, shared_data, encoding):
    records = json.loads((shared_data("lm_zh_classical") / "论语" / "lunyu.json").read_text())
    text = "\n".join(paragraph for record in records for paragraph in record["paragraphs"])
    for length in (100, 1_000, len(text)):
        data = text[:length].encode(encoding)
        assert data.decode(detect_encoding(str(write("a.txt", data)))) == text[:length]


@pytest.mark.parametrize("novel", ["Cbronte_Jane_1847", "Eliot_Adam_1859", "Dickens_Bleak_1853"])
def test_an_english_novel_is_detected(write, shared_data, novel):
    text = (shared_data("lm_novels_en") / f"{novel}.txt").read_text(encoding="utf-8-sig")
    data = text.replace("--", "—").encode("cp1252", "ignore")
    assert data.decode(detect_encoding(str(write("a.txt", data)))) == data.decode("cp1252")
