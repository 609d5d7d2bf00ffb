"""Data that is divided into splits: how much there is, and the batches of each split.

Shape letters: B rows in a batch.
"""

from collections.abc import Mapping, Sized
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import tensorflow as tf

from tfpt.pipelines.labelled_rows import RowBatches
from tfpt.pipelines.split_digest import sha256_of
from tfpt.pipelines.splits import TEST, TRAIN, VALIDATION


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitBatches:
    """What all labelled data have: examples to train on, validate and test, as batches of B rows.

    A kind of data says how the rows of a split are drawn, by `_rows`, and may go on with what was
    drawn, by `_finished`. The length of a split is the number of its examples.
    """

    splits: Mapping[str, Sized]  # "train", "validation" and, where there is one, "test"
    batch_size: int  # B
    seed: int
    sources: Mapping[str, str] = field(default_factory=dict)  # the file of each split

    def described(self) -> str:
        """How many examples each split has, and of which file, for a person."""
        verbs = {TRAIN: "train on", VALIDATION: "validate", TEST: "test"}
        told, seen = [], set()
        for name, split in self.splits.items():
            source = self.sources.get(name, "")
            where = "held out of it" if source in seen else source
            seen.add(source)
            told.append(f"{len(split):,} to {verbs[name]}{f' ({where})' if where else ''}")
        return ", ".join(told)

    @property
    def num_train(self) -> int:
        """Training examples."""
        return len(self.splits[TRAIN])

    @property
    def num_validation(self) -> int:
        """Validation examples."""
        return len(self.splits[VALIDATION])

    @property
    def num_test(self) -> int:
        """Test examples; 0 where there is no test split."""
        return len(self.splits[TEST]) if TEST in self.splits else 0

    @property
    def steps_per_epoch(self) -> int:
        """Batches that hold every training row once."""
        return self._rows(TRAIN).num_batches

    @cached_property
    def train(self) -> tf.data.Dataset:
        """The training rows, each once, in another order each time it is gone through.

        The orders follow from the seed (and from `tf.random.set_seed`, where that was called).
        """
        return self._finished(TRAIN, self._rows(TRAIN).shuffled())

    @cached_property
    def validation(self) -> tf.data.Dataset:
        """The validation rows, each once, in the same order each time."""
        return self._finished(VALIDATION, self._rows(VALIDATION).in_order())

    @cached_property
    def test(self) -> tf.data.Dataset | None:
        """The test rows, as those of validation; None where there is no test split."""
        if TEST not in self.splits:
            return None
        return self._finished(TEST, self._rows(TEST).in_order())

    def train_batches(self, first_batch: int = 0) -> tf.data.Dataset:
        """Training batches without end, from any batch number on; see `RowBatches.endless`."""
        return self._finished(TRAIN, self._rows(TRAIN).endless(first_batch), first_batch)

    def digests(self) -> dict[str, str]:
        """SHA-256 of the content of "train" and "validation", which a training is made of."""
        return {name: sha256_of(self.splits[name]) for name in (TRAIN, VALIDATION)}

    def _rows(self, name: str) -> RowBatches:
        """The rows of a split, drawn as batches."""
        raise NotImplementedError

    def _finished(self, name: str, drawn: Any, first_batch: int = 0) -> tf.data.Dataset:
        """The batches of what was drawn of a split, which are numbered from `first_batch` on."""
        return drawn
