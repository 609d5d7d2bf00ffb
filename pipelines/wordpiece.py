"""BERT's WordPiece: text to ids inside the TensorFlow graph, and its vocabulary files.

Shape letters: N texts, L tokens of a text (ragged).
"""

import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfpt.pipelines import bert_normalizer, outside_graph, tokens_and_texts
from tfpt.pipelines.outside_graph import Encoding
from tfpt.pipelines.special_tokens import ROLES, SPECIAL_TOKENS, all_special_ids, special_id
from tfpt.pipelines.tokenizer_files import (
    check_entries,
    digest,
    file_path,
    read_json,
    read_lines,
    replacing,
    write_text,
)

CONTINUATION_PREFIX = "##"
FILE_NAME = "vocab.txt"

# A longer word is one [UNK], as in BERT's reference code.
MAX_WORD = 100
# Words of the op end at blanks, ASCII punctuation and Chinese characters: other punctuation has
# blanks around it by then.
_CHINESE = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b81f"
    "\U0002b920-\U0002ceaf\U0002f800-\U0002fa1f"
)
_LONG_WORD = f"[^ -/:-@\\[-`{{-~{_CHINESE}]{{{MAX_WORD + 1},}}"
# The op counts bytes, of which 100 characters have at most 400. It is given a limit that only words
# can pass that have this many more at their end.
_FILLER = 4 * MAX_WORD + 1


class WordPiece:
    """BERT's WordPiece. `pipelines.Tokenizer` is another name for it.

    Words are split at white space, at punctuation and around every CJK character, then cut into
    the longest entries from the left; a word with no such cut is one [UNK]. The special tokens are
    never read out of a text: "[MASK]" in a text is three words, "[", "mask" and "]".

    `tokenize` runs the ops of tensorflow-text's `FastBertTokenizer`, the same in the input pipeline
    and in an exported SavedModel, with a table of its own for the normalization (see
    bert_normalizer.py). Ids and spans equal those of the `tokenizers` library, which follows BERT's
    reference code, for every text that is Unicode, but for two rarities:

    - Where accents are stripped, marks that are none and stand side by side, as the musical U+1D16D
      U+1D165, keep their order; BERT puts them into Unicode's canonical one (U+1D165 U+1D16D). A
      span may then differ by such a mark too.
    - Bytes that are no UTF-8 make their word [UNK]; BERT's code drops them.

    Where tensorflow-text is not installed, the `tokenizers` library does the work.

    Source: Devlin et al. 2019, https://arxiv.org/abs/1810.04805; Song et al. 2021, "Fast WordPiece
    Tokenization", https://arxiv.org/abs/2012.15524.
    """

    kind = "wordpiece"

    def __init__(
        self,
        vocabulary: Sequence[str],
        *,
        lowercase: bool = True,
        strip_accents: bool | None = None,
    ):
        """Check and take a vocabulary.

        Args:
            vocabulary: The entries in the order of their ids. The five special tokens may stand
                anywhere; entries that are not used (as "[unused1]") are fine.
            lowercase: Whether the text is lowercased.
            strip_accents: Whether it is stripped of accents; None: if it is lowercased, as in BERT.

        Raises:
            ValueError: A special token is missing, an entry is empty or there twice.
        """
        self.vocabulary = tuple(vocabulary)
        self.lowercase = bool(lowercase)
        self.strip_accents = self.lowercase if strip_accents is None else bool(strip_accents)
        _check(self.vocabulary, "the vocabulary", "entry", first=0)
        self.roles = {
            role: self.vocabulary.index(token)
            for role, token in zip(ROLES, SPECIAL_TOKENS, strict=True)
        }
        self.special_ids = all_special_ids(self.roles)

    pad_id = special_id("pad")
    unknown_id = special_id("unknown")
    cls_id = special_id("cls")
    sep_id = special_id("sep")
    mask_id = special_id("mask")

    def __repr__(self) -> str:
        return f"WordPiece({self.vocabulary_size} entries, lowercase={self.lowercase})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WordPiece) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    @property
    def vocabulary_size(self) -> int:
        """The number of entries, special tokens included."""
        return len(self.vocabulary)

    @cached_property
    def sha256(self) -> str:
        """Identity of the tokenizer: a hash of its entries, their order and its settings."""
        settings = [f"{name}={value}" for name, value in self._settings.items()]
        return digest(*settings, *self.vocabulary)

    @property
    def in_graph(self) -> bool:
        """Whether `tokenize` is made of operations that a SavedModel can hold."""
        return outside_graph.tensorflow_text() is not None

    @property
    def resources(self) -> tuple[Any, ...]:
        """What a SavedModel has to own besides the graph: nothing."""
        return ()

    @cached_property
    def word_starts(self) -> np.ndarray:
        """bool (vocabulary_size,): the entries that begin a word."""
        return np.array([not entry.startswith(CONTINUATION_PREFIX) for entry in self.vocabulary])

    def tokenize(self, texts: Any) -> Any:
        """Turn texts into ids, without any special token added.

        Args:
            texts: string (N,), or a list of strings, in UTF-8.

        Returns:
            RaggedTensor int32 (N, L). A text of white space only gives a row of length 0.
        """
        texts = tokens_and_texts.batch_of_texts(texts)
        if not self.in_graph:
            return outside_graph.tokenize(self.encode, texts)[0]
        import tensorflow as tf

        normalizer, cutter = self._ops
        text = normalizer.normalize(texts)
        return cutter.tokenize(tf.strings.regex_replace(text, _LONG_WORD, r"\0" + "a" * _FILLER))

    def tokenize_with_offsets(self, texts: Any, *, unit: str = "byte") -> tuple[Any, Any, Any]:
        """Turn texts into ids and say where each token stands in its text as it was given.

        What the normalization removed (an accent that is a character of its own, a control
        character) is part of a span only between two characters of the token.

        Args:
            texts: As `tokenize` takes them.
            unit: What offsets count, "byte" or "character".

        Returns:
            `(ids, starts, ends)`, RaggedTensors (N, L): int32, and int64 for `text[start:end]`.
        """
        from tfpt.pipelines import spans

        spans.check_unit(unit)
        texts = tokens_and_texts.batch_of_texts(texts)
        if self.in_graph:
            ids, starts, ends = self._spans_in_graph(texts)
        else:
            ids, starts, ends = outside_graph.tokenize(self.encode, texts, offsets=True)
        return ids, *spans.in_unit(texts, starts, ends, unit)

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Turn strings into ids and spans by the `tokenizers` library, without TensorFlow.

        Ids are those of `tokenize`, offsets those of `tokenize_with_offsets`, in characters.
        """
        encodings = self._reference.encode_batch(list(texts), add_special_tokens=False)
        return [outside_graph.encoding(one.ids, one.offsets) for one in encodings]

    def ids_to_tokens(self, ids: Any) -> Any:
        """The vocabulary entry of each id; see `tokens_and_texts.entries_of_ids`."""
        return tokens_and_texts.entries_of_ids(self.vocabulary, ids)

    def detokenize(self, ids: Any) -> Any:
        """Join tokens to words and words to texts, with a blank between any two words.

        Args:
            ids: RaggedTensor int (N, L), or lists of ids. Special tokens are left out.

        Returns:
            string (N,).
        """
        import tensorflow as tf

        joined = tokens_and_texts.joined(ids, self._spoken_entries, separator=" ")
        return tf.strings.regex_replace(joined, f" {CONTINUATION_PREFIX}", "")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the vocabulary, one entry a line (line number = id), and its settings beside it.

        Files of the same name are replaced, each in one step.

        Args:
            path: A folder (gets `vocab.txt` and `vocab.settings.json`; made if missing) or a file
                ending in .txt (`my.txt` gets `my.settings.json` beside it).

        Returns:
            The path of the vocabulary file.
        """
        vocabulary_path = file_path(path, ".txt", FILE_NAME)
        vocabulary_path.parent.mkdir(parents=True, exist_ok=True)
        # Both are written before one is renamed. The settings are renamed first: a vocabulary
        # without them would be read as lowercase.
        with (
            replacing(vocabulary_path) as vocabulary,
            replacing(settings_path(vocabulary_path)) as settings,
        ):
            write_text(settings, json.dumps(self._settings) + "\n")
            write_text(vocabulary, "".join(entry + "\n" for entry in self.vocabulary))
        return vocabulary_path

    @property
    def _settings(self) -> dict[str, bool]:
        settings = {"lowercase": self.lowercase}
        if self.strip_accents != self.lowercase:
            settings["strip_accents"] = self.strip_accents
        return settings

    @cached_property
    def _spoken_entries(self) -> list[str]:
        special = set(self.special_ids)
        return ["" if n in special else entry for n, entry in enumerate(self.vocabulary)]

    @cached_property
    def _reference(self) -> Any:
        import tokenizers

        ids = {entry: number for number, entry in enumerate(self.vocabulary)}
        model = tokenizers.models.WordPiece(
            ids,
            unk_token="[UNK]",
            continuing_subword_prefix=CONTINUATION_PREFIX,
            max_input_chars_per_word=MAX_WORD,
        )
        reference = tokenizers.Tokenizer(model)
        reference.normalizer = bert_normalizer.reference(self.lowercase, self.strip_accents)
        reference.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        return reference

    @cached_property
    def _ops(self) -> tuple[Any, Any]:
        """The normalizer and the op that cuts words."""
        import tensorflow as tf

        package = outside_graph.tensorflow_text()
        assert package is not None
        table = bert_normalizer.normalization(self.lowercase, self.strip_accents)
        # Their tables are eager constants: made inside a graph they would belong to that graph.
        with tf.init_scope():
            normalizer = package.FastBertNormalizer(model_buffer=table.model)
            try:
                cutter = package.FastWordpieceTokenizer(
                    vocab=[
                        # Some control characters mean something inside the op. No text has any
                        # after the normalization, nor two words in one.
                        f"[control {number}]"
                        if min(entry) < " "
                        else entry.translate(table.stand_ins)
                        for number, entry in enumerate(self.vocabulary)
                    ],
                    suffix_indicator=CONTINUATION_PREFIX,
                    max_bytes_per_word=_FILLER,
                    token_out_type=tf.int32,
                    unknown_token="[UNK]",
                )
            except RuntimeError as error:
                raise ValueError(
                    f"tensorflow-text cannot work with this vocabulary: {error}. Entries may have "
                    "up to 256 bytes."
                ) from error
        return normalizer, cutter

    def _spans_in_graph(self, texts: Any) -> tuple[Any, Any, Any]:
        import tensorflow as tf

        from tfpt.pipelines import spans

        normalizer, cutter = self._ops
        normalized, source = normalizer.normalize_with_offsets(texts)
        filled = tf.strings.regex_replace(normalized, _LONG_WORD, r"\0" + "a" * _FILLER)
        ids, starts, ends = cutter.tokenize_with_offsets(filled)
        row = ids.value_rowids()
        # A token longer than the filler has it: take that off its end, and off all that follows.
        filler = tf.cast(ends.values - starts.values > _FILLER, tf.int64) * _FILLER
        before = tf.cumsum(filler, exclusive=True)
        before -= tf.gather(tf.concat([before, [0]], axis=0), tf.gather(ids.row_starts(), row))
        first, last = starts.values - before, ends.values - before - filler - 1
        base = tf.gather(source.row_starts(), row)
        first, last = (tf.gather(source.values, base + place) for place in (first, last))
        # A replaced character is known by its first byte, which says how many it has; any other
        # byte stands for itself.
        text = spans.bytes_of(texts)
        byte = tf.gather(text.values, tf.gather(text.starts, row) + last)
        is_lead = tf.cast([byte >= 0xC0, byte >= 0xE0, byte >= 0xF0], tf.int64)
        end = tf.minimum(last + 1 + tf.reduce_sum(is_lead, axis=0), tf.gather(text.lengths, row))
        return ids, ids.with_values(first), ids.with_values(end)


def load_wordpiece(
    path: Path, *, lowercase: bool | None = None, strip_accents: bool | None = None
) -> WordPiece:
    """Read a vocabulary written by `WordPiece.save`, or any BERT `vocab.txt`.

    Args:
        path: The vocabulary file.
        lowercase, strip_accents: See `WordPiece`. None takes the value of the settings file beside
            it, else True (lowercase) and the value of lowercase (strip_accents).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A broken vocabulary or settings file, or settings that contradict the arguments.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"No vocabulary at {path}. Pass a vocab.txt, or a folder that holds one; "
            "`tfpt vocabulary` trains one."
        )
    vocabulary = read_lines(path)
    _check(vocabulary, str(path), "line", first=1)
    given = {"lowercase": lowercase, "strip_accents": strip_accents}
    saved = _read_settings(settings_path(path))
    for name, value in given.items():
        if value is not None and name in saved and saved[name] != value:
            raise ValueError(
                f"{settings_path(path)} says {name}={saved[name]}, the argument says "
                f"{name}={value}. Leave the argument out, or train a vocabulary of the other kind."
            )
    chosen = {name: saved.get(name, value) for name, value in given.items()}
    return WordPiece(
        vocabulary,
        lowercase=chosen["lowercase"] is not False,
        strip_accents=chosen["strip_accents"],
    )


def settings_path(vocabulary_path: Path) -> Path:
    """Where the settings of a vocab.txt stand."""
    return vocabulary_path.with_suffix(".settings.json")


def _check(vocabulary: Sequence[str], source: str, place: str, *, first: int) -> None:
    check_entries(vocabulary, source, place, first=first)
    entries = set(vocabulary)
    if missing := [token for token in SPECIAL_TOKENS if token not in entries]:
        raise ValueError(
            f"{source} lacks the special tokens {' '.join(missing)} among its {len(vocabulary)} "
            f"entries. A BERT vocabulary holds {' '.join(SPECIAL_TOKENS)}, spelled so."
        )


def _read_settings(path: Path) -> dict[str, bool]:
    if not path.is_file():
        return {}
    settings = read_json(path)
    if not isinstance(settings, dict) or "lowercase" not in settings:
        raise ValueError(f'{path} is not a settings file, as {{"lowercase": true}}.')
    for name, value in settings.items():
        if name not in ("lowercase", "strip_accents") or not isinstance(value, bool):
            raise ValueError(
                f'{path} holds "lowercase" and perhaps "strip_accents", each true or false; '
                f"received {json.dumps(name)}: {json.dumps(value)}."
            )
    return settings
