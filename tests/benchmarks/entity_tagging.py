r"""A tagger of entities of the same weights, sentences and numbers by tfpt and by transformers.

    python -m venv peers && peers/bin/pip install 'torch==2.13.*' transformers
    tfpt import CHECKPOINT --out runs/minilm
    python tests/benchmarks/entity_tagging.py --checkpoint CHECKPOINT --from runs/minilm \
        --train wnut17train.conll --validation emerging.dev.conll --test emerging.test.annotated \
        --peer-python peers/bin/python --out runs/beside

As fine_tuning.py does it; the best epoch is the one with most words tagged right. Both label the
first token of a word, cut sentences at `--length` tokens, and count words past it as tagged O.
Prints F1 of whole entities, mean and deviation over seeds, and the difference of the means with its
95% interval, that of a bootstrap over the test sentences, paired.
"""

import argparse
import json

import beside
import numpy as np
from scipy import stats

from tfpt.pipelines import tagged_words
from tfpt.pipelines.tags import OUTSIDE, find_entities


def main() -> None:
    arguments = _parse()
    if arguments.side is not None:
        print(json.dumps(_train(arguments)))
        return
    beside.keep_options(arguments)
    true = _write_sentences(arguments)
    data, length = str(arguments.out / "data"), str(arguments.length)
    runs = beside.runs(arguments, ["transformers_tagger.py", data, "--length", length])
    _print(
        {
            side: np.stack([entity_counts(true, one["predicted"]) for one in found])
            for side, found in runs.items()
        }
    )
    beside.print_seconds(arguments, runs)


def _parse() -> argparse.Namespace:
    parser = beside.parser(str(__doc__), length=96, learning_rate=3e-4, epochs=5, seeds=3)
    for split in ("train", "validation", "test"):
        parser.add_argument(f"--{split}", required=True)
    return parser.parse_args()


def _write_sentences(arguments: argparse.Namespace) -> list[tuple[str, ...]]:
    """Write each split as OUT/data/SPLIT.jsonl; the tags of the test sentences."""
    files = {split: getattr(arguments, split) for split in ("train", "validation", "test")}
    splits = tagged_words.read_tagged(files, tagged_words.TagColumns())
    folder = arguments.out / "data"
    folder.mkdir(exist_ok=True)
    for split, found in splits.items():
        lines = (
            json.dumps({"words": words, "tags": tags})
            for words, tags in zip(found.rows, found.tags, strict=True)
        )
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return splits["test"].tags


def _train(arguments: argparse.Namespace) -> dict[str, list]:
    from tfpt import entities
    from tfpt.recipes import tag

    model, data, seconds = beside.fine_tune(tag, arguments, [f"data.name={arguments.out / 'data'}"])
    sentences = data.splits["test"].sentences
    predicted = [[OUTSIDE] * len(one.tags) for one in sentences]
    for row, _, logits in entities.labelled_rows(model, data.test):
        places = np.flatnonzero(sentences[row].has_label)
        for place, label in zip(places, logits.argmax(axis=-1), strict=True):
            predicted[row][place] = data.label_names[label]
    return {"predicted": predicted, "epoch_seconds": seconds}


def entity_counts(true, predicted) -> np.ndarray:
    """Of N sentences the entities that are right, predicted and true.

    Args:
        true, predicted: BIO tags of the words of each sentence.

    Returns:
        int64 (N, 3).
    """
    rows = []
    for sentences in zip(true, predicted, strict=True):
        here, there = (set(find_entities(tags, ends=False)) for tags in sentences)
        rows.append((len(here & there), len(there), len(here)))
    return np.array(rows, np.int64)


def _f1(counts: np.ndarray) -> np.ndarray:
    """Of S seeds (S, N, 3) the F1 of each, (S,)."""
    correct, predicted, true = counts.sum(axis=1).T
    return 2 * correct / np.maximum(predicted + true, 1)


def _print(counts: dict[str, np.ndarray]) -> None:
    for side, found in counts.items():
        scores = _f1(found)
        spread = f", deviation {scores.std(ddof=1):.4f}" if len(scores) > 1 else ""
        print(f"{side}: entity F1 {scores.mean():.4f}{spread}")
    ours, peer = counts.values()

    def difference(sentences: np.ndarray) -> float:
        return _f1(ours[:, sentences]).mean() - _f1(peer[:, sentences]).mean()

    every = np.arange(ours.shape[1])
    interval = stats.bootstrap(
        (every,), difference, n_resamples=10_000, vectorized=False, rng=np.random.default_rng(0)
    ).confidence_interval
    print(
        f"{beside.OURS} minus the other: {100 * difference(every):.2f} points, 95% interval "
        f"{100 * interval.low:.2f} to {100 * interval.high:.2f}"
    )


if __name__ == "__main__":
    main()
