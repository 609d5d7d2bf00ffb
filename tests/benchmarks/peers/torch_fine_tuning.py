"""What fine-tunes a model of transformers on torch: options, batches, steps, the best epoch.

AdamW without decay of norms and biases, linear decay with 10% of warm-up, gradients clipped to a
norm of 1. Each batch is padded to its longest row.
"""

import argparse
import copy
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import get_linear_schedule_with_warmup


def parser(description: str) -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=description)
    found.add_argument("rows", type=Path)
    found.add_argument("--checkpoint", required=True)
    found.add_argument("--seed", type=int, required=True)
    found.add_argument("--batch-size", type=int, default=32)
    found.add_argument("--learning-rate", type=float, default=5e-5)
    found.add_argument("--epochs", type=int, default=3)
    found.add_argument("--product-dtype", choices=("float32", "bfloat16"), default="float32")
    return found


def read(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of train.jsonl, validation.jsonl and test.jsonl."""
    return {
        name: [json.loads(line) for line in (folder / f"{name}.jsonl").open(encoding="utf-8")]
        for name in ("train", "validation", "test")
    }


class Batches:
    """Rows of `input_ids` as tensors of B rows.

    Args:
        rows: By split; those with fields of the tokenizer, and `labels`, a number or one for each
            token.
        pad: Makes tensors of some rows; see transformers' data collators.
    """

    def __init__(self, rows: dict[str, list[dict]], pad: Callable, batch_size: int):
        self.rows = rows
        self.pad = pad
        self.batch_size = batch_size

    def in_order(self, split: str) -> Iterator[dict]:
        yield from self._batches(self.rows[split])

    def shuffled(self, split: str, order: random.Random) -> Iterator[dict]:
        yield from self._batches(order.sample(self.rows[split], len(self.rows[split])))

    def _batches(self, rows: list[dict]) -> Iterator[dict]:
        for begin in range(0, len(rows), self.batch_size):
            yield self.pad(rows[begin : begin + self.batch_size])


def train(model, batches: Batches, arguments: argparse.Namespace) -> list[float]:
    """Train `model`; it has the weights of the epoch with most labels of validation right.

    Returns:
        The seconds of each epoch, validation left out.
    """
    steps = arguments.epochs * -(-len(batches.rows["train"]) // arguments.batch_size)
    optimizer = torch.optim.AdamW(_groups(model), lr=arguments.learning_rate, fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    order = random.Random(arguments.seed)
    best, kept, seconds = -1.0, {}, []
    for _ in range(arguments.epochs):
        model.train()
        began = time.perf_counter()
        for batch in batches.shuffled("train", order):
            with cast(arguments):
                loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        seconds.append(time.perf_counter() - began)
        if (accuracy := _accuracy(model, batches, arguments)) > best:
            best, kept = accuracy, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return seconds


def cast(arguments: argparse.Namespace):
    """The context in which products are made."""
    return torch.autocast("cpu", torch.bfloat16, enabled=arguments.product_dtype == "bfloat16")


@torch.no_grad()
def answers(model, batches: Batches, split: str, arguments: argparse.Namespace) -> Iterator:
    """Of each batch in order its labels, and the best class of each; a label of -100 is none."""
    model.eval()
    for batch in batches.in_order(split):
        labels = batch.pop("labels")
        with cast(arguments):
            logits = model(**batch).logits
        yield labels, logits.argmax(dim=-1)


def _accuracy(model, batches: Batches, arguments: argparse.Namespace) -> float:
    right = count = 0
    for labels, found in answers(model, batches, "validation", arguments):
        right += (labels == found).sum().item()
        count += (labels != -100).sum().item()
    return right / count


def _groups(model) -> list[dict]:
    named = list(model.named_parameters())
    return [
        {"params": [value for _, value in named if value.ndim > 1], "weight_decay": 0.01},
        {"params": [value for _, value in named if value.ndim <= 1], "weight_decay": 0.0},
    ]
