r"""The data room against its peers, on one core.

    python tests/benchmarks/data.py tokenize 'novels/*.txt' --vocabulary vocab.txt
    python tests/benchmarks/data.py store 'novels/*.txt' --vocabulary vocab.txt
    python tests/benchmarks/data.py draw 'novels/*.txt' --vocabulary vocab.txt

`tokenize`: lines to ids, against `tokenizers`' encode_batch_fast. `store`: text to a token store,
split into sentences, checksums included, against the same work with encode_batch_fast. `draw`: rows
of 128 tokens with pairs and masks drawn fresh, against the collator of transformers that masks
only, as it comes (tensors of torch) and with its fastest settings (arrays of NumPy, special tokens
told). It needs `pip install transformers torch`, in another environment if --peer-python names
one. Figures are lines, bytes and rows a second of processor time; imports and opening are not
counted.
"""

import argparse
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

LINES_AT_ONCE, ROWS_AT_ONCE, LENGTH = 1024, 256, 128


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("tokenize", "store", "draw"))
    parser.add_argument("texts", help="a glob of running text")
    parser.add_argument("--vocabulary", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-python", default=sys.executable, help="to draw with transformers")
    parser.add_argument("--side", help="used by the script itself")
    arguments = parser.parse_args()
    if arguments.side:
        print(SIDES[arguments.what][arguments.side](arguments.texts, arguments.vocabulary))
        return
    import paired

    shared = [arguments.what, arguments.texts, "--vocabulary", arguments.vocabulary]
    commands = {}
    for side, name in NAMES[arguments.what].items():
        elsewhere = arguments.what == "draw" and side != "tfpt"
        python = arguments.peer_python if elsewhere else sys.executable
        commands[name] = [python, __file__, *shared, "--side", side]
    figures = paired.compare(commands, rounds=arguments.rounds)
    paired.report(arguments.what, UNITS[arguments.what], figures)


def _lines(texts: str, limit: int = 100_000) -> list[str]:
    import glob

    found: list[str] = []
    for path in sorted(glob.glob(texts)):
        found += filter(None, Path(path).read_text(encoding="utf-8").splitlines())
    return found[:limit]


def _peer_tokenizer(vocabulary: str):
    from tokenizers import BertWordPieceTokenizer

    return BertWordPieceTokenizer(vocabulary, lowercase=True)._tokenizer


def _tokenize_tfpt(texts: str, vocabulary: str) -> float:
    from tfpt import pipelines

    lines, tokenizer = _lines(texts), pipelines.load_tokenizer(vocabulary)
    tokenizer.tokenize(lines[:10])
    began = time.process_time()
    for first in range(0, len(lines), LINES_AT_ONCE):
        tokenizer.tokenize(lines[first : first + LINES_AT_ONCE]).values.numpy()
    return len(lines) / (time.process_time() - began)


def _tokenize_peer(texts: str, vocabulary: str) -> float:
    lines, tokenizer = _lines(texts), _peer_tokenizer(vocabulary)
    began = time.process_time()
    for first in range(0, len(lines), LINES_AT_ONCE):
        encoded = tokenizer.encode_batch_fast(
            lines[first : first + LINES_AT_ONCE], add_special_tokens=False
        )
        np.concatenate([np.array(one.ids, np.uint16) for one in encoded])
    return len(lines) / (time.process_time() - began)


def _store_tfpt(texts: str, vocabulary: str) -> float:
    from tfpt import pipelines

    tokenizer = pipelines.load_tokenizer(vocabulary)
    tokenizer.tokenize(["once"])
    documents = pipelines.read_documents(texts, layout="text")
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        pipelines.write_store(documents, tokenizer, Path(folder) / "store", num_workers=1)
        return documents.num_bytes / (time.process_time() - began)


def _store_peer(texts: str, vocabulary: str) -> float:
    """The same sentences, arrays and checksums, with the other tokenizer."""
    from tfpt import pipelines

    tokenizer = _peer_tokenizer(vocabulary)
    documents = pipelines.read_documents(texts, layout="text")
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        digest, lengths, path = hashlib.sha256(), [], Path(folder) / "ids"
        with open(path, "wb") as file:
            for document in documents:
                for first in range(0, len(document), LINES_AT_ONCE):
                    encoded = tokenizer.encode_batch_fast(
                        list(document[first : first + LINES_AT_ONCE]), add_special_tokens=False
                    )
                    ids = [np.array(one.ids, np.uint16) for one in encoded]
                    lengths += map(len, ids)
                    file.write(np.concatenate(ids).tobytes())
        np.cumsum(lengths).tofile(path.with_suffix(".offsets"))
        digest.update(path.read_bytes())
        return documents.num_bytes / (time.process_time() - began)


def _draw_tfpt(texts: str, vocabulary: str) -> float:
    from tfpt import pipelines

    tokenizer = pipelines.load_tokenizer(vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        documents = pipelines.read_documents(texts, layout="text")
        store = pipelines.write_store(documents, tokenizer, Path(folder) / "s", num_workers=1)
        batches = pipelines.mlm_nsp(store, sequence_length=LENGTH, batch_size=ROWS_AT_ONCE)
        for _ in batches.take(50):
            pass
        began, number = time.process_time(), 1000
        for _ in batches.take(number):
            pass
        return number * ROWS_AT_ONCE / (time.process_time() - began)


def _draw_peer(texts: str, vocabulary: str, tensors: str = "pt", told: bool = False) -> float:
    from transformers import BertTokenizerFast, DataCollatorForLanguageModeling

    tokenizer = BertTokenizerFast(
        tokenizer_object=_peer_tokenizer(vocabulary),
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    )
    collate = DataCollatorForLanguageModeling(
        tokenizer, mlm_probability=0.15, return_tensors=tensors
    )
    random = np.random.default_rng(0)
    number = 30
    batches = [
        [
            {
                "input_ids": ids,
                "token_type_ids": [0] * LENGTH,
                "attention_mask": [1] * LENGTH,
                **({"special_tokens_mask": [1] + [0] * (LENGTH - 2) + [1]} if told else {}),
            }
            for ids in random.integers(5, tokenizer.vocab_size, (ROWS_AT_ONCE, LENGTH)).tolist()
        ]
        for _ in range(number)
    ]
    collate(batches[0])
    began = time.process_time()
    for rows in batches:
        collate(rows)
    return number * ROWS_AT_ONCE / (time.process_time() - began)


def _draw_fast_peer(texts: str, vocabulary: str) -> float:
    return _draw_peer(texts, vocabulary, tensors="np", told=True)


NAMES = {
    "tokenize": {"tfpt": "tfpt", "peer": "tokenizers.encode_batch_fast"},
    "store": {"tfpt": "tfpt.write_store", "peer": "the same with encode_batch_fast"},
    "draw": {
        "tfpt": "tfpt.mlm_nsp",
        "peer": "transformers' collator, masks only",
        "fast": "the same, its fastest settings",
    },
}
UNITS = {"tokenize": "lines/s", "store": "bytes/s", "draw": "rows/s"}
SIDES = {
    "tokenize": {"tfpt": _tokenize_tfpt, "peer": _tokenize_peer},
    "store": {"tfpt": _store_tfpt, "peer": _store_peer},
    "draw": {"tfpt": _draw_tfpt, "peer": _draw_peer, "fast": _draw_fast_peer},
}

if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
