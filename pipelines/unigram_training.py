"""Training a Unigram model from counted words, by the `sentencepiece` library."""

import io
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfpt.pipelines.special_tokens import SPECIAL_TOKENS

# In characters; longer ones, paragraphs of scripts without blanks, are to be cut.
LONGEST_WORD = 1 << 12
# Sums of scores that are multiples of this are exact in float32 up to 65,536: however they are
# added up, two ways to cut a word that are equally probable stay so.
_SCORE_STEP = 2.0**-8

_SETTINGS: dict[str, Any] = {
    "model_type": "unigram",
    "input_format": "tsv",
    # Sums of more threads depend on their number.
    "num_threads": 1,
    "shuffle_input_sentence": False,
    "max_sentence_length": 4 * LONGEST_WORD,  # in bytes
    "minloglevel": 2,
    **dict(zip(("pad_id", "unk_id", "bos_id", "eos_id"), range(4), strict=True)),
    **dict(
        zip(("pad_piece", "unk_piece", "bos_piece", "eos_piece"), SPECIAL_TOKENS[:4], strict=True)
    ),
    "control_symbols": list(SPECIAL_TOKENS[4:]),
}


def learn_pieces(
    counted: Mapping[str, int],
    vocabulary_size: int,
    *,
    lowercase: bool,
    character_coverage: float,
) -> bytes:
    """The model as a .model file holds it; see `vocabulary.train_unigram`."""
    import sentencepiece

    written = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.tsv"
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{word}\t{counted[word]}\n" for word in sorted(counted))
        try:
            sentencepiece.SentencePieceTrainer.train(
                input=str(path),
                model_writer=written,
                vocab_size=vocabulary_size,
                character_coverage=character_coverage,
                normalization_rule_name="nmt_nfkc_cf" if lowercase else "nmt_nfkc",
                **_SETTINGS,
            )
        except (RuntimeError, OSError) as error:
            raise ValueError(_explained(str(error), vocabulary_size)) from error
    return _in_order(written.getvalue())


def _explained(reason: str, vocabulary_size: int) -> str:
    """What the trainer says, in terms of `train_unigram`."""
    if found := re.search(r"value <= (\d+)", reason):
        return (
            f"This text gives {int(found[1]):,} entries; vocabulary_size={vocabulary_size:,} was "
            f"asked for. Lower vocabulary_size to at most {int(found[1]):,}, or give more text."
        )
    if found := re.search(r"required_chars\. \d+ vs (\d+)", reason):
        return (
            f"vocabulary_size={vocabulary_size:,} has no room for the characters of this text: "
            f"with the special tokens they are {int(found[1]):,} entries, before any longer piece. "
            "Raise vocabulary_size, or lower character_coverage."
        )
    return f"The sentencepiece library cannot learn from this text: {reason}"


def _in_order(model: bytes) -> bytes:
    """The same model with its pieces in the order of `train_unigram`, and no path in it."""
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model)
    special, ordinary = proto.pieces[: len(SPECIAL_TOKENS)], proto.pieces[len(SPECIAL_TOKENS) :]
    for piece in ordinary:
        piece.score = round(piece.score / _SCORE_STEP) * _SCORE_STEP

    def place(piece: Any) -> tuple[bool, float, str]:
        is_long = len(piece.piece) > 1
        return is_long, -piece.score if is_long else 0.0, piece.piece

    pieces = [*special, *sorted(ordinary, key=place)]
    ordered = sentencepiece_model_pb2.ModelProto()
    ordered.CopyFrom(proto)
    ordered.ClearField("pieces")
    ordered.pieces.extend(pieces)
    ordered.trainer_spec.ClearField("input")
    ordered.trainer_spec.ClearField("model_prefix")
    return ordered.SerializeToString(deterministic=True)
