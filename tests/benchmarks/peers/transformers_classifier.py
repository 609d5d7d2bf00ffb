"""A classifier of texts by transformers on torch: each batch padded to its longest text.

    python tests/benchmarks/peers/transformers_classifier.py ROWS --checkpoint FOLDER --seed 0

Run by ../fine_tuning.py; ROWS holds train.jsonl, validation.jsonl and test.jsonl. AdamW without
decay of norms and biases, linear decay with 10% of warm-up, gradients clipped to a norm of 1.
"""

import argparse
import copy
import json
import random
import time
from pathlib import Path

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    get_linear_schedule_with_warmup,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--product-dtype", choices=("float32", "bfloat16"), default="float32")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    tokenizer = AutoTokenizer.from_pretrained(arguments.checkpoint)
    rows = {
        name: _read(arguments.rows / f"{name}.jsonl") for name in ("train", "validation", "test")
    }
    names = sorted({label for _, label in rows["train"]})
    batches = Batches(rows, names, tokenizer, arguments.batch_size)
    model = AutoModelForSequenceClassification.from_pretrained(
        arguments.checkpoint, num_labels=len(names)
    )
    steps = arguments.epochs * -(-len(rows["train"]) // arguments.batch_size)
    optimizer = torch.optim.AdamW(_groups(model), lr=arguments.learning_rate, fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    cast = torch.autocast("cpu", torch.bfloat16, enabled=arguments.product_dtype == "bfloat16")
    order = random.Random(arguments.seed)
    best, kept, seconds = -1.0, {}, []
    for _ in range(arguments.epochs):
        model.train()
        began = time.perf_counter()
        for batch in batches.shuffled("train", order):
            with cast:
                loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        seconds.append(time.perf_counter() - began)
        correct = _correct(model, batches, "validation", cast)
        if (accuracy := sum(correct) / len(correct)) > best:
            best, kept = accuracy, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    found = _correct(model, batches, "test", cast)
    print(json.dumps({"correct": found, "epoch_seconds": seconds}))


class Batches:
    """The rows of each split, tokenized once, as tensors of B rows."""

    def __init__(self, rows, names, tokenizer, batch_size: int):
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.rows = {
            split: [
                {"input_ids": ids, "label": names.index(label)}
                for ids, (_, label) in zip(
                    tokenizer([text for text, _ in own], truncation=True)["input_ids"],
                    own,
                    strict=True,
                )
            ]
            for split, own in rows.items()
        }

    def in_order(self, split: str):
        yield from self._batches(self.rows[split])

    def shuffled(self, split: str, order: random.Random):
        yield from self._batches(order.sample(self.rows[split], len(self.rows[split])))

    def _batches(self, rows):
        for begin in range(0, len(rows), self.batch_size):
            some = rows[begin : begin + self.batch_size]
            padded = self.tokenizer.pad(
                {"input_ids": [row["input_ids"] for row in some]}, return_tensors="pt"
            )
            yield {**padded, "labels": torch.tensor([row["label"] for row in some])}


def _read(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(row["text"], row["label"]) for row in map(json.loads, lines)]


def _groups(model) -> list[dict]:
    named = list(model.named_parameters())
    return [
        {"params": [value for _, value in named if value.ndim > 1], "weight_decay": 0.01},
        {"params": [value for _, value in named if value.ndim <= 1], "weight_decay": 0.0},
    ]


@torch.no_grad()
def _correct(model, batches: Batches, split: str, cast) -> list[bool]:
    model.eval()
    found: list[bool] = []
    for batch in batches.in_order(split):
        labels = batch.pop("labels")
        with cast:
            logits = model(**batch).logits
        found += (logits.argmax(dim=-1) == labels).tolist()
    return found


if __name__ == "__main__":
    main()
