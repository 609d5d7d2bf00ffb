"""What a tokenizer gives, whatever its kind, and how one is read from its files.

Shape letters: N texts, L tokens of a text (ragged).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tfpt.pipelines import byte_pair, sentence_piece, wordpiece
from tfpt.pipelines.outside_graph import Encoding
from tfpt.pipelines.special_tokens import SPECIAL_TOKENS as SPECIAL_TOKENS
from tfpt.pipelines.tokenizer_files import read_json
from tfpt.pipelines.tokenizer_json import from_json
from tfpt.pipelines.wordpiece import CONTINUATION_PREFIX as CONTINUATION_PREFIX
from tfpt.pipelines.wordpiece import WordPiece

Tokenizer = WordPiece


class TextTokenizer(Protocol):
    """What `WordPiece`, `BytePair` and `SentencePiece` have in common; no class to inherit from.

    A tokenizer is a value: nothing in it changes, equal ones have the same `sha256`. Building,
    saving and loading one imports no TensorFlow; the first `tokenize` does.
    """

    @property
    def kind(self) -> str:
        """The name of the way it cuts: "wordpiece", "byte pair" or "sentencepiece"."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The entries in the order of their ids."""

    @property
    def vocabulary_size(self) -> int:
        """The number of entries, special tokens included."""

    @property
    def sha256(self) -> str:
        """Its identity: equal for tokenizers that cut every text alike."""

    @property
    def roles(self) -> dict[str, int]:
        """The ids of the special tokens by role: pad, unknown, cls, sep, mask."""

    @property
    def special_ids(self) -> tuple[int, ...]:
        """The ids of all special tokens, those of the roles first. No text gives one of them."""

    @property
    def pad_id(self) -> int:
        """The id that fills up a row; like those below a ValueError where there is none."""

    @property
    def unknown_id(self) -> int:
        """The id of what no entry stands for."""

    @property
    def cls_id(self) -> int:
        """The id that begins a row."""

    @property
    def sep_id(self) -> int:
        """The id that ends a text."""

    @property
    def mask_id(self) -> int:
        """The id that hides a token."""

    @property
    def word_starts(self) -> np.ndarray:
        """bool (vocabulary_size,): the entries that begin a word, for masking whole words."""

    @property
    def in_graph(self) -> bool:
        """Whether `tokenize` is made of operations that a SavedModel can hold."""

    @property
    def resources(self) -> tuple[Any, ...]:
        """What a SavedModel has to own besides the graph of `tokenize`."""

    def tokenize(self, texts: Any) -> Any:
        """string (N,) -> RaggedTensor int32 (N, L), inside a graph or outside; no special token."""

    def tokenize_with_offsets(self, texts: Any, *, unit: str = "byte") -> tuple[Any, Any, Any]:
        """As `tokenize`, and where each token stands: `(ids, starts, ends)`, offsets int64 (N, L).

        `unit` is "byte" or "character". Offsets count in the text as it was given; white space
        before a token is not part of it.
        """

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """The same ids and spans (in characters) without TensorFlow, for preparing data."""

    def ids_to_tokens(self, ids: Any) -> Any:
        """The vocabulary entry of each id, nested as `ids` is."""

    def detokenize(self, ids: Any) -> Any:
        """RaggedTensor int (N, L) or lists of ids -> string (N,), special tokens left out."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it into a folder, or to a file with the ending of its kind; gives the file."""


def load_tokenizer(
    path: str | os.PathLike[str],
    *,
    lowercase: bool | None = None,
    strip_accents: bool | None = None,
) -> TextTokenizer:
    """Read a tokenizer from its files, those of others too.

    | file | kind |
    |---|---|
    | `vocab.txt` (any .txt) | `WordPiece` |
    | `tokenizer.json` | by what it says: `WordPiece`, `BytePair` or `SentencePiece` |
    | `vocab.json`, `encoder.json` | `BytePair`, with `merges.txt` or `vocab.bpe` beside it |
    | `tokenizer.model` (any .model) | `SentencePiece` |

    Special tokens keep the names they have (`<s>`, `</s>`, `<mask>`); a vocabulary that lacks some
    of the five works where they are not needed, and `with_special_tokens` appends them.

    Args:
        path: One of these files, or a folder that holds one.
        lowercase, strip_accents: Of a `vocab.txt`, which does not tell. None takes the values of
            the settings file beside it, else True (lowercase) and that of lowercase
            (strip_accents).

    Returns:
        A `TextTokenizer`.

    Raises:
        FileNotFoundError: Nothing known lies there.
        ValueError: A broken file, one that says how to cut in a way that cannot be followed
            exactly, or arguments that contradict it.
    """
    file = _find(Path(path))
    if file.suffix == ".txt":
        return wordpiece.load_wordpiece(file, lowercase=lowercase, strip_accents=strip_accents)
    if lowercase is not None or strip_accents is not None:
        raise ValueError(
            "`lowercase` and `strip_accents` are for a vocab.txt, which does not tell; "
            f"{file} says how its texts are normalized. Leave the arguments out."
        )
    if file.suffix == ".model":
        return sentence_piece.load_sentence_piece(file)
    content = read_json(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file} is no vocabulary: a JSON object is needed.")
    if not isinstance(content.get("model"), dict):
        return byte_pair.load_byte_pair(file)
    return from_json(content, str(file))


def _find(path: Path) -> Path:
    """The file to read: `path`, what belongs to it, or what lies in it."""
    if path.is_file():
        if path.name in ("merges.txt", "vocab.bpe"):
            return path.with_name("vocab.json" if path.name == "merges.txt" else "encoder.json")
        if path.suffix not in (".txt", ".json", ".model"):
            raise ValueError(
                f"{path} is no vocabulary by its name: .txt, .json and .model can be read."
            )
        return path
    vocabulary = path if path.suffix == ".txt" else path / wordpiece.FILE_NAME
    # A vocab.txt without settings leaves open what a tokenizer.json beside it says.
    candidates = [
        *([vocabulary] if wordpiece.settings_path(vocabulary).is_file() else []),
        path / "tokenizer.json",
        vocabulary,
        *(path / name for name in sentence_piece.FILE_NAMES),
        path / "vocab.json",
        path / "encoder.json",
    ]
    return next((file for file in candidates if file.is_file()), vocabulary)
