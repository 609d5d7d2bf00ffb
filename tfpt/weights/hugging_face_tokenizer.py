"""The tokenizer of a folder of Hugging Face."""

import json
from pathlib import Path
from typing import Any

import tokenizers

from tfpt import pipelines
from tfpt.pipelines.tokenizer_files import read_json
from tfpt.weights.checkpoint import wordpiece

SETTINGS = "tokenizer_config.json"
_ROLES = {"pad": "pad", "unknown": "unk", "cls": "cls", "sep": "sep", "mask": "mask"}


def read(path: Path, lowercase: bool | None) -> pipelines.TextTokenizer:
    """Read `tokenizer.json`, or a `vocab.txt`, of which `tokenizer_config.json` tells the case.

    Raises:
        FileNotFoundError: There is neither.
        ValueError: It is damaged, or cuts texts in a way that cannot be followed.
    """
    vocabulary, settings = path / "vocab.txt", path / SETTINGS
    if (path / "tokenizer.json").is_file() or not vocabulary.is_file():
        return pipelines.load_tokenizer(path, lowercase=lowercase)
    told = read_json(settings) if settings.is_file() else {}
    if lowercase is None:
        lowercase = told.get("do_lower_case")
    return wordpiece(vocabulary, lowercase=lowercase, strip_accents=told.get("strip_accents"))


def write(path: Path, tokenizer: pipelines.TextTokenizer, max_length: int) -> None:
    """Write the tokenizer's own files, and what transformers is told of them, into a folder."""
    file = tokenizer.save(path)
    named = {
        f"{there}_token": tokenizer.vocabulary[tokenizer.roles[role]]
        for role, there in _ROLES.items()
        if role in tokenizer.roles
    }
    settings: dict[str, Any] = {"model_max_length": max_length, **named}
    if isinstance(tokenizer, pipelines.WordPiece):
        settings |= {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": tokenizer.lowercase,
            "strip_accents": tokenizer.strip_accents,
            "tokenize_chinese_chars": True,
        }
    else:
        settings |= {"tokenizer_class": "RobertaTokenizer", "bos_token": named["cls_token"]}
        settings |= {"eos_token": named["sep_token"]}
        _add_special_tokens(file, tokenizer)
    (path / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _add_special_tokens(file: Path, tokenizer: pipelines.TextTokenizer) -> None:
    """Let the `tokenizers` library put [CLS] and [SEP] around a text, as RoBERTa has them."""
    written = tokenizers.Tokenizer.from_file(str(file))
    last, first = (
        (tokenizer.vocabulary[number], number) for number in (tokenizer.sep_id, tokenizer.cls_id)
    )
    written.post_processor = tokenizers.processors.RobertaProcessing(
        last, first, trim_offsets=True, add_prefix_space=False
    )
    written.save(str(file))
