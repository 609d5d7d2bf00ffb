"""WordPiece tokenization inside the TensorFlow graph, and the vocabulary files it comes from.

Shape letters: N texts, L tokens of a text (ragged).
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONTINUATION_PREFIX = "##"

# A longer word becomes one [UNK], as in BERT's reference code (there: 100 characters).
_MAX_BYTES_PER_WORD = 100


class Tokenizer:
    """BERT's WordPiece: text to ids in the graph, ids back to vocabulary entries.

    `tokenize` runs tensorflow-text's `FastBertTokenizer`: the same op in the input pipeline and in
    an exported SavedModel. Words are split at white space, at punctuation and around every CJK
    character, then cut into the longest entries from the left; a word with no such cut is one
    [UNK]. The special tokens are never read out of a text: "[MASK]" in a text is three words,
    "[", "mask" and "]".

    Ids equal those of BERT's reference code and of the `tokenizers` library for nearly all text.
    They differ in these cases, each with an example:

    - `lowercase=True` also folds case and compatibility forms (Unicode NFKC_Casefold), which BERT
      keeps: the sharp s U+00DF is read as "ss", the one half sign U+00BD as three characters, the
      full-width comma U+FF0C of Chinese text as ",". `train_wordpiece` does so too (all but the
      sharp s); a foreign Chinese vocabulary loses its full-width entries, unless it is cased.
    - `lowercase=False` reads a control or format character (U+0001, the zero-width joiner U+200D)
      as the end of a word; BERT drops it and joins what stands around it.
    - A word is [UNK] past 100 bytes, in BERT past 100 characters (200 bytes of Cyrillic).

    Building a Tokenizer imports no TensorFlow; the first `tokenize` does.

    Source: Devlin et al. 2019, https://arxiv.org/abs/1810.04805; Song et al. 2021, "Fast WordPiece
    Tokenization", https://arxiv.org/abs/2012.15524.
    """

    def __init__(self, vocabulary: Sequence[str], *, lowercase: bool = True):
        """Check and take a vocabulary.

        Args:
            vocabulary: The entries in the order of their ids. The five special tokens may stand
                anywhere; entries that are not used (as "[unused1]") are fine.
            lowercase: Whether the text is lowercased and stripped of accents first.

        Raises:
            ValueError: A special token is missing, an entry is empty or there twice.
        """
        self.vocabulary = tuple(vocabulary)
        self.lowercase = bool(lowercase)
        _check_vocabulary(self.vocabulary, "the vocabulary", "entry", first=0)
        self.special_ids = tuple(self.vocabulary.index(token) for token in SPECIAL_TOKENS)
        self.pad_id, self.unknown_id, self.cls_id, self.sep_id, self.mask_id = self.special_ids

    def __repr__(self) -> str:
        return f"Tokenizer({self.vocabulary_size} entries, lowercase={self.lowercase})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    @property
    def vocabulary_size(self) -> int:
        """The number of entries, special tokens included."""
        return len(self.vocabulary)

    @cached_property
    def word_starts(self) -> np.ndarray:
        """bool (V,): which entries begin a word."""
        continued = [entry.startswith(CONTINUATION_PREFIX) for entry in self.vocabulary]
        return ~np.array(continued, bool)

    @cached_property
    def sha256(self) -> str:
        """Identity of the tokenizer: a hash of its entries, their order and `lowercase`."""
        digest = hashlib.sha256(f"lowercase={self.lowercase}\n".encode())
        digest.update("\n".join(self.vocabulary).encode())
        return digest.hexdigest()

    def tokenize(self, texts: Any) -> Any:
        """Turn texts into ids, without any special token added.

        Args:
            texts: string (N,), or a list of strings. UTF-8; a word with other bytes is an [UNK].

        Returns:
            RaggedTensor int32 (N, L). A text of white space only gives a row of length 0.
        """
        import tensorflow as tf

        texts = tf.convert_to_tensor(texts, tf.string)
        if texts.shape.rank != 1:
            raise ValueError(
                "`tokenize` takes a batch of texts, a string tensor of shape (N,); received shape "
                f"{texts.shape}. Batch the dataset before mapping it, or pass [text] for one text."
            )
        return self._fast_bert_tokenizer.tokenize(texts)

    def ids_to_tokens(self, ids: Any) -> Any:
        """Give the vocabulary entry of each id.

        Args:
            ids: An id, or a (nested) list, array, tensor or ragged tensor of ids.

        Returns:
            A string, or lists of strings nested as `ids` is.

        Raises:
            ValueError: An id outside of the vocabulary.
        """
        for convert in ("to_list", "numpy", "tolist"):  # ragged tensor; tensor; array or scalar
            if hasattr(ids, convert):
                return self.ids_to_tokens(getattr(ids, convert)())
        if isinstance(ids, Sequence) and not isinstance(ids, str):
            return [self.ids_to_tokens(part) for part in ids]
        if not 0 <= ids < self.vocabulary_size:
            raise ValueError(
                f"An id lies between 0 and {self.vocabulary_size - 1} in this vocabulary; "
                f"received {ids}."
            )
        return self.vocabulary[ids]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the vocabulary, one entry a line (line number = id), and its settings beside it.

        Files of the same name are replaced, each in one step.

        Args:
            path: A folder (gets `vocab.txt` and `vocab.settings.json`; made if missing) or a file
                ending in .txt (`my.txt` gets `my.settings.json` beside it).

        Returns:
            The path of the vocabulary file.
        """
        vocabulary_path = _vocabulary_path(path)
        vocabulary_path.parent.mkdir(parents=True, exist_ok=True)
        # Both are written before one is renamed. The settings are renamed first: a vocabulary
        # without them would be read as lowercase.
        with (
            _replacing(vocabulary_path) as vocabulary,
            _replacing(_settings_path(vocabulary_path)) as settings,
        ):
            _write_text(settings, json.dumps({"lowercase": self.lowercase}) + "\n")
            _write_text(vocabulary, "".join(entry + "\n" for entry in self.vocabulary))
        return vocabulary_path

    @cached_property
    def _fast_bert_tokenizer(self) -> Any:
        import tensorflow as tf
        import tensorflow_text

        # Its tables are eager constants: made inside a graph they would belong to that graph only.
        with tf.init_scope():
            return tensorflow_text.FastBertTokenizer(
                vocab=list(self.vocabulary),
                suffix_indicator=CONTINUATION_PREFIX,
                max_bytes_per_word=_MAX_BYTES_PER_WORD,
                token_out_type=tf.int32,
                unknown_token="[UNK]",
                lower_case_nfd_strip_accents=self.lowercase,
            )


def load_tokenizer(path: str | os.PathLike[str], *, lowercase: bool | None = None) -> Tokenizer:
    """Read a vocabulary written by `Tokenizer.save`, or any BERT `vocab.txt`.

    Args:
        path: The vocabulary file, or the folder that holds `vocab.txt`.
        lowercase: Whether texts are lowercased. None takes the value of the settings file beside
            the vocabulary, and True where there is none. Say False for a cased foreign vocabulary.

    Raises:
        FileNotFoundError: No vocabulary there.
        ValueError: A broken vocabulary or settings file, or settings that contradict `lowercase`.
    """
    vocabulary_path = Path(path) if Path(path).is_file() else _vocabulary_path(path)
    vocabulary = _read_vocabulary(vocabulary_path)
    settings_path = _settings_path(vocabulary_path)
    saved = _read_lowercase(settings_path)
    if saved is not None and lowercase is not None and saved != lowercase:
        raise ValueError(
            f"{settings_path} says lowercase={saved}, the argument says lowercase={lowercase}. "
            "Leave the argument out, or train a vocabulary of the other kind."
        )
    if lowercase is None:
        lowercase = True if saved is None else saved
    return Tokenizer(vocabulary, lowercase=lowercase)


def _check_vocabulary(vocabulary: Sequence[str], source: str, place: str, *, first: int) -> None:
    """Raise ValueError for what no tokenizer can work with, naming source and place.

    Args:
        place, first: What an entry's number is called, and the number of the first entry.
    """
    seen: dict[str, int] = {}
    for number, entry in enumerate(vocabulary, first):
        if not entry or "\n" in entry:
            what = "is empty" if not entry else "holds a line break"
            raise ValueError(
                f"{place} {number} of {source} {what}: {entry!r}. Each entry is a piece of a word; "
                "take a whole vocabulary file."
            )
        if entry in seen:
            raise ValueError(
                f"{source} holds {entry!r} twice, at {place} {seen[entry]} and {place} {number}. "
                "Remove one, or rename it to an entry that no text holds, as [unused0], to keep "
                "the ids of the others."
            )
        seen[entry] = number
    if missing := [token for token in SPECIAL_TOKENS if token not in seen]:
        raise ValueError(
            f"{source} lacks the special tokens {' '.join(missing)} among its {len(vocabulary)} "
            f"entries. A BERT vocabulary holds {' '.join(SPECIAL_TOKENS)}, spelled so."
        )


def _vocabulary_path(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    return path if path.suffix == ".txt" else path / "vocab.txt"


def _settings_path(vocabulary_path: Path) -> Path:
    return vocabulary_path.with_suffix(".settings.json")


def _read_vocabulary(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(
            f"No vocabulary at {path}. Pass a vocab.txt, or a folder that holds one; "
            "`tfpt vocabulary` trains one."
        )
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if lines[-1] in (b"", b"\r"):
        lines.pop()
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            # Only "\n" ends a line: entries of foreign vocabularies hold other separators.
            entries.append(line.removesuffix(b"\r").decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, line {number} is not UTF-8: {line!r}.") from error
    _check_vocabulary(entries, str(path), "line", first=1)
    return entries


def _read_lowercase(path: Path) -> bool | None:
    if not path.is_file():
        return None
    try:
        lowercase = json.loads(path.read_text(encoding="utf-8"))["lowercase"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is not a settings file, as {{"lowercase": true}}.') from error
    if not isinstance(lowercase, bool):
        raise ValueError(f'"lowercase" in {path} is true or false; received {lowercase!r}.')
    return lowercase


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; it takes the place of `path` if nothing is raised."""
    beside = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        yield beside
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _write_text(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
