"""Tokenizers out of a `tokenizer.json`, as the `tokenizers` library writes it.

Such a file can say a great deal more than tokenizers do here. What cannot be followed exactly is
refused with the name of the field, never ignored.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfpt.pipelines.byte_pair import PLAIN_MODEL, BytePair
from tfpt.pipelines.sentence_piece import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    WORD_MARK,
    SentencePiece,
)
from tfpt.pipelines.tokenizer_files import check_fields, entries_by_id
from tfpt.pipelines.wordpiece import CONTINUATION_PREFIX, MAX_WORD, WordPiece

Content = Mapping[str, Any]


def from_json(content: Content, source: str) -> WordPiece | BytePair | SentencePiece:
    """The tokenizer that the content of a `tokenizer.json` describes.

    Args:
        content: The JSON object.
        source: The file, for messages.

    Raises:
        ValueError: It cuts texts in a way that cannot be followed exactly, or is broken.
    """
    kinds: dict[str, Callable[[Content, str], Any]]
    kinds = {"WordPiece": _wordpiece, "BPE": _byte_pair, "Unigram": _unigram}
    kind = content["model"].get("type")
    if kind is None and "merges" in content["model"]:  # as older versions wrote it
        kind = "BPE"
    if kind not in kinds:
        raise ValueError(
            f"{source} holds a model of type {kind!r}; {', '.join(kinds)} can be read."
        )
    try:
        return kinds[kind](content, source)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{source} is damaged: {error!r}. Take a whole file.") from error
    except ValueError as error:
        raise (
            error if str(error).startswith(source) else ValueError(f"{source}: {error}")
        ) from error


def _wordpiece(content: Content, source: str) -> WordPiece:
    """What normalizes and cuts texts as BERT does."""
    model, normalizer = content["model"], content.get("normalizer") or {}
    expected = {
        "model.unk_token": (model.get("unk_token"), "[UNK]"),
        "model.continuing_subword_prefix": (
            model.get("continuing_subword_prefix"),
            CONTINUATION_PREFIX,
        ),
        "model.max_input_chars_per_word": (model.get("max_input_chars_per_word"), MAX_WORD),
        "normalizer.type": (normalizer.get("type"), "BertNormalizer"),
        "normalizer.clean_text": (normalizer.get("clean_text"), True),
        "normalizer.handle_chinese_chars": (normalizer.get("handle_chinese_chars"), True),
        "pre_tokenizer.type": (_type(content, "pre_tokenizer"), "BertPreTokenizer"),
    }
    special = _special_tokens(content, expected)
    check_fields(expected, source)
    return WordPiece(
        entries_by_id({**model["vocab"], **special}, source),
        lowercase=normalizer.get("lowercase", True),
        strip_accents=normalizer.get("strip_accents"),
    )


def _byte_pair(content: Content, source: str) -> BytePair:
    """What cuts texts as GPT-2 does."""
    model, cutter = content["model"], content.get("pre_tokenizer") or {}
    expected = {
        "normalizer": (content.get("normalizer"), None),
        "pre_tokenizer.type": (cutter.get("type"), "ByteLevel"),
        "pre_tokenizer.add_prefix_space": (cutter.get("add_prefix_space"), False),
        "pre_tokenizer.use_regex": (cutter.get("use_regex", True), True),
        # An empty one and none are the same.
        **{
            f"model.{name}": (model.get(name) or there, there)
            for name, there in PLAIN_MODEL.items()
        },
    }
    special = _special_tokens(content, expected)
    check_fields(expected, source)
    merges = [
        tuple(merge) if isinstance(merge, list) else tuple(merge.split(" "))
        for merge in model["merges"]
    ]
    entries = entries_by_id({**model["vocab"], **special}, source)
    return BytePair(entries, merges, special_tokens=list(special))


def _unigram(content: Content, source: str) -> SentencePiece:
    """The SentencePiece model that the file was converted from.

    It can be told where the file holds the model's own table for the normalization, as those of T5,
    ALBERT and XLM-R do. Ids are those of SentencePiece; the `tokenizers` library itself differs
    from it, as at accents that are characters of their own.
    """
    from sentencepiece import sentencepiece_model_pb2

    model = content["model"]
    steps = _steps(content.get("normalizer"), "normalizers")
    cutters = _steps(content.get("pre_tokenizer"), "pretokenizers")
    expected = _unigram_fields(steps, cutters)
    special = _special_tokens(content, expected)
    check_fields(expected, source)
    table = next(step for step in steps if step["type"] == "Precompiled")
    scores = dict(model["vocab"])
    ids = {entry: number for number, (entry, _) in enumerate(model["vocab"])}
    proto = sentencepiece_model_pb2.ModelProto()
    for number, entry in enumerate(entries_by_id({**ids, **special}, source)):
        is_byte = model.get("byte_fallback") and entry.startswith("<0x")
        kind = CONTROL if entry in special else BYTE if is_byte else NORMAL
        kind = UNKNOWN if number == model.get("unk_id") else kind
        proto.pieces.add(piece=entry, score=scores.get(entry, 0.0), type=kind)
    proto.trainer_spec.model_type = proto.trainer_spec.UNIGRAM
    proto.trainer_spec.byte_fallback = bool(model.get("byte_fallback"))
    proto.trainer_spec.unk_id = model.get("unk_id") or 0
    proto.normalizer_spec.precompiled_charsmap = base64.b64decode(table["precompiled_charsmap"])
    proto.normalizer_spec.add_dummy_prefix = True
    squeezes = any(step["type"] == "Replace" for step in steps)
    proto.normalizer_spec.remove_extra_whitespaces = squeezes or len(cutters) > 1
    return SentencePiece(proto.SerializeToString(deterministic=True))


def _unigram_fields(
    steps: Sequence[Content], cutters: Sequence[Content]
) -> dict[str, tuple[Any, Any]]:
    """What a file that was converted from a SentencePiece model says, for `check_fields`."""
    marks = next((step for step in cutters if step["type"] == "Metaspace"), {})
    prefix = marks.get("prepend_scheme", "always" if marks.get("add_prefix_space") else "never")
    others = [step["type"] for step in steps if step["type"] not in ("Replace", "Strip")]
    replaced = [step["pattern"] for step in steps if step["type"] == "Replace"]
    around = [step["type"] for step in cutters if step["type"] != "WhitespaceSplit"]
    return {
        "normalizer (but for Replace and Strip)": (others, ["Precompiled"]),
        "normalizer.pattern": (replaced, [{"Regex": " {2,}"}] * len(replaced)),
        "pre_tokenizer (but for WhitespaceSplit)": (around, ["Metaspace"]),
        "pre_tokenizer.replacement": (marks.get("replacement"), WORD_MARK),
        "pre_tokenizer.prepend_scheme": (prefix, "always"),
    }


def _special_tokens(content: Content, expected: dict[str, tuple[Any, Any]]) -> dict[str, int]:
    """The special tokens and their ids; adds to `expected` that no other token is added.

    Added tokens that are not special are found in texts before anything else is cut.
    """
    added = content.get("added_tokens") or []
    ordinary = [token["content"] for token in added if not token.get("special")]
    expected["added_tokens that are not special"] = (ordinary, [])
    return {token["content"]: token["id"] for token in added if token.get("special")}


def _steps(step: Content | None, name: str) -> list[Content]:
    """The steps of a normalizer or pre-tokenizer, which may be a sequence of them."""
    if not step:
        return []
    return list(step[name]) if step["type"] == "Sequence" else [step]


def _type(content: Content, part: str) -> str | None:
    return (content.get(part) or {}).get("type")
