r"""A classifier of the same weights, rows and numbers by tfpt and by transformers.

    python -m venv peers && peers/bin/pip install 'torch==2.13.*' transformers
    tfpt import CHECKPOINT --out runs/minilm
    python tests/benchmarks/fine_tuning.py --checkpoint CHECKPOINT --from runs/minilm \
        --data sst2 --text 0 --label 1 --peer-python peers/bin/python --out runs/beside

CHECKPOINT is a folder of Hugging Face of BERT's shape. Both train with AdamW, 10% of warm-up and
linear decay, clipped gradients, dropout 0.1, the same batch size, rate and epochs, and answer the
test rows by the weights of the epoch that is best on the validation rows. transformers pads each
batch to its longest text; tfpt to `--length`, where longer texts are cut too.

The seeds are gone through one after the other, first tfpt, then transformers, each in a process of
its own. Prints the accuracies, their difference with its interval (see labelled.py), and the
seconds of an epoch, validation left out, the first epoch with what it compiles left out too: the
median of the ratios of the seeds. What was finished before is not repeated.
"""

import argparse
import json

import beside
import labelled


def main() -> None:
    arguments = _parse()
    if arguments.side is not None:
        print(json.dumps(_train(arguments)))
        return
    beside.keep_options(arguments)
    data = labelled.write_rows(
        arguments.out / "data", arguments.data, text=arguments.text, label=arguments.label
    )
    runs = beside.runs(arguments, ["transformers_classifier.py", str(data)])
    labelled.print_accuracies(
        {side: [one["correct"] for one in found] for side, found in runs.items()}
    )
    beside.print_seconds(arguments, runs)


def _parse() -> argparse.Namespace:
    parser = beside.parser(str(__doc__), length=64, learning_rate=5e-5, epochs=3, seeds=5)
    parser.add_argument("--data", required=True)
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label")
    return parser.parse_args()


def _train(arguments: argparse.Namespace) -> dict[str, list]:
    from tfpt import evaluation
    from tfpt.recipes import classify

    model, data, seconds = beside.fine_tune(
        classify, arguments, [f"data.name={arguments.out / 'data'}"]
    )
    labels, logits = evaluation.predictions(model, data.test)
    return {"correct": (logits.argmax(axis=1) == labels).tolist(), "epoch_seconds": seconds}


if __name__ == "__main__":
    main()
