"""A classifier of texts by transformers on torch; see torch_fine_tuning.py.

    python tests/benchmarks/peers/transformers_classifier.py ROWS --checkpoint FOLDER --seed 0

Run by ../fine_tuning.py; ROWS holds train.jsonl, validation.jsonl and test.jsonl, with the fields
`text` and `label`.
"""

import json

import torch
import torch_fine_tuning
import transformers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
)


def main() -> None:
    arguments = torch_fine_tuning.parser(str(__doc__)).parse_args()
    torch.manual_seed(arguments.seed)
    transformers.logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(arguments.checkpoint)
    splits = torch_fine_tuning.read(arguments.rows)
    names = sorted({row["label"] for row in splits["train"]})
    rows = {split: _rows(found, names, tokenizer) for split, found in splits.items()}
    batches = torch_fine_tuning.Batches(
        rows, DataCollatorWithPadding(tokenizer), arguments.batch_size
    )
    model = AutoModelForSequenceClassification.from_pretrained(
        arguments.checkpoint, num_labels=len(names)
    )
    seconds = torch_fine_tuning.train(model, batches, arguments)
    correct = [
        right
        for labels, found in torch_fine_tuning.answers(model, batches, "test", arguments)
        for right in (labels == found).tolist()
    ]
    print(json.dumps({"correct": correct, "epoch_seconds": seconds}))


def _rows(rows, names, tokenizer) -> list[dict]:
    tokens = tokenizer([row["text"] for row in rows], truncation=True)["input_ids"]
    return [
        {"input_ids": ids, "labels": names.index(row["label"])}
        for ids, row in zip(tokens, rows, strict=True)
    ]


if __name__ == "__main__":
    main()
