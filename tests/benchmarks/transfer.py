r"""Does pre-training help? A classifier from a pre-trained run, from scratch, and a bag of words.

    python tests/benchmarks/transfer.py --from runs/bert --data FOLDER --text 0 --label 1 \
        --learning-rates 3e-4 6e-4 1e-3 --out runs/transfer

Each of the two is fine-tuned with the same numbers from several seeds, but for the learning rate:
weights that were trained are larger than first weights, and the best step for the ones is too large
or too small for the others. So each takes the rate that is best on the validation rows, with seed
0. What was finished before is not repeated. `--only pre-trained` and `--only scratch` do one part
each, in two processes at once; TF_NUM_INTRAOP_THREADS=1 then is faster than both with all cores.

The difference of the accuracies on the test rows comes with its 95% interval; see labelled.py.
Needs the extra `results` (scikit-learn).
"""

import argparse
import json
from pathlib import Path

import labelled
import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from tfpt import checkpoints, config, evaluation, training
from tfpt.pipelines import splits
from tfpt.recipes import classify


def main() -> None:
    arguments = _parse()
    start = checkpoints.open_run(arguments.start)
    shared = [
        f"data.name={arguments.data}",
        f"data.text={arguments.text}",
        f"data.label={arguments.label}",
        *arguments.assignments,
    ]
    settings = config.override(classify.config(), shared)
    # Its dropout is the fine-tuning's own.
    size = {"model": {**start.settings["model"], "dropout_rate": settings.model.dropout_rate}}
    arms = {
        "pre-trained": config.override(settings, [f"start={arguments.start}"]),
        "scratch": config.override(
            config.from_dict(settings, size), [f"data.vocabulary={arguments.start}"]
        ),
    }
    correct = {}
    for name, arm in arms.items():
        if arguments.only in (None, name):
            arm = _with_best_rate(arm, arguments.rates, arguments.out / name)
            rate = f"{arm.training.learning_rate:g}"
            correct[name] = np.stack(
                [
                    _correct(arm, seed, arguments.out / name / f"{rate}-{seed}")
                    for seed in range(arguments.seeds)
                ]
            )
    if arguments.only:
        return
    baseline = _bag_of_words(settings.data)
    labelled.print_accuracies(correct)
    print(f"bag of words: {baseline:.4f}")
    summary = {name: list(rows.mean(axis=1)) for name, rows in correct.items()}
    (arguments.out / "summary.json").write_text(json.dumps({**summary, "bag of words": baseline}))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--from", dest="start", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--learning-rates", dest="rates", nargs="+", type=float, required=True)
    parser.add_argument("--only", choices=("pre-trained", "scratch"))
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def _with_best_rate(settings: classify.Config, rates: list[float], out: Path) -> classify.Config:
    """The settings with the rate whose best epoch is most accurate on the validation rows."""

    def accuracy(rate: float) -> float:
        folder = out / f"{rate:g}-0"
        _correct(config.override(settings, [f"training.learning_rate={rate}"]), 0, folder)
        lines = (folder / "history.jsonl").read_text().splitlines()
        return max(json.loads(line)["val_classification_accuracy"] for line in lines)

    found = {rate: accuracy(rate) for rate in rates}
    print(f"{out.name}, best on validation by rate: {found}", flush=True)
    return config.override(
        settings, [f"training.learning_rate={max(found, key=found.__getitem__)}"]
    )


def _correct(settings: classify.Config, seed: int, out: Path) -> np.ndarray:
    """bool (N,): which test rows a run with this seed classifies right."""
    settings = config.override(settings, [f"seed={seed}"])
    path = out / "correct.json"
    if not path.exists():
        run = training.finetune(classify, settings, out, verbose=0)
        settings = config.from_dict(classify.config(), run.settings)
        data = classify.dataset(settings, run.tokenizer)
        model = checkpoints.load(
            out, build=lambda run: classify.model(settings, run.tokenizer, run.label_names)
        )
        labels, logits = evaluation.predictions(model, data.test)
        path.write_text(json.dumps((logits.argmax(axis=1) == labels).tolist()))
    correct = np.array(json.loads(path.read_text()))
    print(f"{out.parent.name} {out.name}: {correct.mean():.4f}", flush=True)
    return correct


def _bag_of_words(data: classify.Data) -> float:
    """Accuracy on the test rows of a logistic regression on words and pairs of words."""
    tables = splits.read_splits(data.name, text=data.text, label=data.label)
    texts = {name: [" ".join(row) for row in table.rows] for name, table in tables.items()}
    words = CountVectorizer(ngram_range=(1, 2), binary=True)
    train = words.fit_transform(texts["train"])
    fitted = [
        LogisticRegression(C=strength, max_iter=1000).fit(train, tables["train"].labels)
        for strength in (0.03, 0.1, 0.3, 1.0, 3.0)
    ]
    validation = words.transform(texts["validation"])
    best = max(fitted, key=lambda model: model.score(validation, tables["validation"].labels))
    return float(best.score(words.transform(texts["test"]), tables["test"].labels))


if __name__ == "__main__":
    main()
