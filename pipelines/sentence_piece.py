"""SentencePiece models: Unigram, as of T5, ALBERT and XLM-R, and the other kinds such a file holds.

Shape letters: N texts, L tokens of a text (ragged).
"""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tfpt.pipelines import outside_graph, tokens_and_texts
from tfpt.pipelines.outside_graph import Encoding
from tfpt.pipelines.special_tokens import (
    all_special_ids,
    find_roles,
    missing_tokens,
    special_id,
)
from tfpt.pipelines.tokenizer_files import (
    bytes_digest,
    check_entries,
    file_path,
    replacing,
)

FILE_NAME = "tokenizer.model"
# What others call it: Llama and ours; T5, ALBERT and XLNet; XLM-R.
FILE_NAMES = (FILE_NAME, "spiece.model", "sentencepiece.bpe.model")
WORD_MARK = "\u2581"  # stands for the blank before a word
_WHITE_SPACE = b" \t\n\v\f\r"

# The types of pieces in the file's format.
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


class SentencePiece:
    """A SentencePiece model.

    A text is normalized as the model says, a blank is written as a mark before the word ("▁"), and
    words are cut into the most probable sequence of pieces (Unigram) or by merging pairs (BPE).
    What no piece stands for is the unknown token, one for several such characters in a row.

    `tokenize` runs tensorflow-text's op, which TF Serving has (it links all of TF-Text's ops). A
    SavedModel has to own the model, see `resources`. Where tensorflow-text is not installed, the
    `sentencepiece` library does the work. Both give the same ids but where two ways to cut a word
    are equally probable, as "0" "00" and "00" "0" of "000": there rounding errors decide, and they
    are others. The scores of `train_unigram` have no rounding errors in texts of less than some
    6,000 tokens, and both agree.

    Source: Kudo 2018, "Subword Regularization", https://arxiv.org/abs/1804.10959; Kudo and
    Richardson 2018, https://arxiv.org/abs/1808.06226.
    """

    kind = "sentencepiece"

    def __init__(self, model: bytes):
        """Check and take a model.

        Args:
            model: The content of a .model file.

        Raises:
            ValueError: It is none, or an entry is there twice.
        """
        self.model = bytes(model)
        self._proto = _parse(self.model)
        pieces = self._proto.pieces
        self.vocabulary = tuple(piece.piece for piece in pieces)
        check_entries(self.vocabulary, "the model", "piece", first=0)
        self.roles = find_roles({entry: number for number, entry in enumerate(self.vocabulary)})
        control = [n for n, piece in enumerate(pieces) if piece.type in (UNKNOWN, CONTROL)]
        # Whatever it is called, each model has one.
        self.roles["unknown"] = next(n for n in control if pieces[n].type == UNKNOWN)
        self.special_ids = all_special_ids(self.roles, control)

    pad_id = special_id("pad")
    unknown_id = special_id("unknown")
    cls_id = special_id("cls")
    sep_id = special_id("sep")
    mask_id = special_id("mask")

    def __repr__(self) -> str:
        return f"SentencePiece({self.vocabulary_size} entries)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SentencePiece) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    @property
    def vocabulary_size(self) -> int:
        """The number of entries, special tokens included."""
        return len(self.vocabulary)

    @cached_property
    def sha256(self) -> str:
        """Identity of the tokenizer: a hash of the model."""
        return bytes_digest(self.model)

    @property
    def in_graph(self) -> bool:
        """Whether `tokenize` is made of operations that a SavedModel can hold."""
        return outside_graph.tensorflow_text() is not None

    @property
    def resources(self) -> tuple[Any, ...]:
        """What a SavedModel has to own besides the graph: the model as the op holds it."""
        return (self._op,) if self.in_graph else ()

    @cached_property
    def word_starts(self) -> np.ndarray:
        """bool (vocabulary_size,): the entries that begin with a blank, and special tokens.

        In scripts without blanks, as Chinese, this tells no words apart.
        """
        starts = np.array([entry.startswith(WORD_MARK) for entry in self.vocabulary])
        starts[list(self.special_ids)] = True
        return starts

    def with_special_tokens(self) -> "SentencePiece":
        """The same with the special tokens it lacks at the end, named as BERT does."""
        proto = _parse(self.model)
        for token in missing_tokens(self.roles):
            proto.pieces.add(piece=token, score=0.0, type=CONTROL)
        return SentencePiece(proto.SerializeToString(deterministic=True))

    def tokenize(self, texts: Any) -> Any:
        """Turn texts into ids, without any special token added.

        Args:
            texts: string (N,), or a list of strings, in UTF-8.

        Returns:
            RaggedTensor int32 (N, L). A text of white space only gives a row of length 0.
        """
        texts = tokens_and_texts.batch_of_texts(texts)
        if not self.in_graph:
            return outside_graph.tokenize(self._encode_by_library, texts)[0]
        return self._op.tokenize(texts)

    def tokenize_with_offsets(self, texts: Any, *, unit: str = "byte") -> tuple[Any, Any, Any]:
        """Turn texts into ids and say where each token stands in its text as it was given.

        White space at a token's beginning is no part of its span, unless there is nothing else.
        The mark at the beginning of a text has an empty span. Of tokens that one character was
        normalized to, each has the span of that character.

        Args:
            texts: As `tokenize` takes them.
            unit: What offsets count, "byte" or "character".

        Returns:
            `(ids, starts, ends)`, RaggedTensors (N, L): int32, and int64 for `text[start:end]`.
        """
        import tensorflow as tf

        from tfpt.pipelines import spans

        spans.check_unit(unit)
        texts = tokens_and_texts.batch_of_texts(texts)
        if not self.in_graph:
            ids, starts, ends = outside_graph.tokenize(self._encode_by_library, texts, offsets=True)
            return ids, *spans.in_unit(texts, starts, ends, unit)
        ids, starts, ends = (
            part.with_row_splits_dtype(tf.int64) for part in self._op.tokenize_with_offsets(texts)
        )
        starts, ends = (part.with_values(tf.cast(part.values, tf.int64)) for part in (starts, ends))
        ends = spans.filled(texts, starts, ends, keep=ids.values == self._mark_id)
        starts = spans.without_leading_space(texts, starts, ends)
        return ids, *spans.in_unit(texts, starts, ends, unit)

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Turn strings into ids and spans, in characters; the same as `tokenize_with_offsets`."""
        if not self.in_graph:
            return self._encode_by_library(texts)
        parts = self.tokenize_with_offsets(list(texts), unit="character")
        return [Encoding(*rows) for rows in zip(*(part.to_list() for part in parts), strict=True)]

    def ids_to_tokens(self, ids: Any) -> Any:
        """The vocabulary entry of each id; see `tokens_and_texts.entries_of_ids`."""
        return tokens_and_texts.entries_of_ids(self.vocabulary, ids)

    def detokenize(self, ids: Any) -> Any:
        """Join tokens to texts, a blank for each mark but the first.

        Args:
            ids: RaggedTensor int (N, L), or lists of ids. Special tokens are left out.

        Returns:
            string (N,).
        """
        import tensorflow as tf

        texts = tokens_and_texts.joined(ids, self._spoken_entries)
        if self._proto.normalizer_spec.add_dummy_prefix:
            texts = tf.strings.regex_replace(texts, "^ ", "")
        return texts

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the model as it is.

        Args:
            path: A folder (gets `tokenizer.model`; made if missing) or a file ending in .model.

        Returns:
            The path of the file.
        """
        target = file_path(path, ".model", FILE_NAME)
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as beside:
            beside.write_bytes(self.model)
        return target

    @cached_property
    def _op(self) -> Any:
        import tensorflow as tf

        package = outside_graph.tensorflow_text()
        assert package is not None
        from tensorflow_text.python.ops import sentencepiece_tokenizer

        model, name = self.model, f"sentencepiece_{self.sha256}"

        class Model(tf.saved_model.experimental.TrackableResource):
            """The model as a resource with a name.

            Without one it ends with the kernel that made it, which `tf.random.set_seed` and
            `keras.utils.set_random_seed` throw away, and later calls find nothing.
            """

            def _create_resource(self):
                return sentencepiece_tokenizer.gen_sentencepiece_tokenizer.sentencepiece_op(
                    model=model, shared_name=name
                )

        with tf.init_scope():
            op = package.SentencepieceTokenizer(model=self.model, out_type=tf.int32)
            op._model_resource = Model()
            _ = op._model_resource.resource_handle  # made when it is first asked for: here
        return op

    @cached_property
    def _processor(self) -> Any:
        import sentencepiece

        return sentencepiece.SentencePieceProcessor(model_proto=self.model)

    @cached_property
    def _mark_id(self) -> int:
        """The id of the mark alone; -1 where that is no entry."""
        return self.vocabulary.index(WORD_MARK) if WORD_MARK in self.vocabulary else -1

    @cached_property
    def _spoken_entries(self) -> list[bytes]:
        special = set(self.special_ids)
        return [
            b""
            if number in special
            else bytes([int(piece.piece[3:5], 16)])
            if piece.type == BYTE
            else piece.piece.replace(WORD_MARK, " ").encode("utf-8")
            for number, piece in enumerate(self._proto.pieces)
        ]

    def _encode_by_library(self, texts: Sequence[str]) -> list[Encoding]:
        from sentencepiece import sentencepiece_pb2

        encodings = []
        for text in texts:
            found = sentencepiece_pb2.SentencePieceText()
            found.ParseFromString(self._processor.encode(text, out_type="serialized_proto"))
            spans = self._spans(text, found.pieces)
            ids = [piece.id for piece in found.pieces]
            starts, ends = (outside_graph.characters_from_bytes(text, part) for part in spans)
            encodings.append(Encoding(ids, starts, ends))
        return encodings

    def _spans(self, text: str, pieces: Sequence[Any]) -> tuple[list[int], list[int]]:
        """Where pieces stand, in bytes; see `tokenize_with_offsets`."""
        content = text.encode("utf-8")
        starts = [piece.begin for piece in pieces]
        ends = [piece.end for piece in pieces]
        for number in reversed(range(len(pieces) - 1)):
            # Only the last of the pieces of a character has its span.
            if starts[number] == ends[number] and pieces[number].id != self._mark_id:
                ends[number] = max(ends[number], ends[number + 1])
        for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
            first = start
            while first < end and content[first] in _WHITE_SPACE:
                first += 1
            if first < end:
                starts[number] = first
        return starts, ends


def load_sentence_piece(path: Path) -> SentencePiece:
    """Read a .model file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no SentencePiece model.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"No vocabulary at {path}. `tfpt vocabulary --kind unigram` trains one."
        )
    try:
        return SentencePiece(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _parse(model: bytes) -> Any:
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(model)
    except DecodeError:
        proto.Clear()
    if not any(piece.type == UNKNOWN for piece in proto.pieces):
        raise ValueError(
            f"These {len(model):,} bytes are no SentencePiece model: one holds pieces, of which "
            "one is for what is unknown. Take a whole .model file."
        )
    return proto
