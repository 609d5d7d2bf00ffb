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
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import labelled

FOLDER = Path(__file__).parent
OURS, PEER = "tfpt", "transformers"


def main() -> None:
    arguments = _parse()
    if arguments.side is not None:
        print(json.dumps(_train(arguments, arguments.side)))
        return
    unlike = {"out", "seeds", "side", "peer_python"}
    labelled.keep_options(
        arguments.out, {name: one for name, one in vars(arguments).items() if name not in unlike}
    )
    data = labelled.write_rows(
        arguments.out / "data", arguments.data, text=arguments.text, label=arguments.label
    )
    runs: dict[str, list[dict[str, Any]]] = {OURS: [], PEER: []}
    for seed in range(arguments.seeds):
        for name, command in _commands(arguments, data, seed).items():
            runs[name].append(_result(arguments.out / f"{name}-{seed}.json", command))
    labelled.print_accuracies(
        {name: [one["correct"] for one in found] for name, found in runs.items()}
    )
    seconds = {
        name: [statistics.median(one["epoch_seconds"][1:] or one["epoch_seconds"]) for one in found]
        for name, found in runs.items()
    }
    for name, values in seconds.items():
        print(f"{name}: {statistics.median(values):.1f} s an epoch")
    ratios = [peer / ours for ours, peer in zip(*seconds.values(), strict=True)]
    dtypes = f"{arguments.peer_dtype} / {arguments.product_dtype}"
    print(f"{PEER} / {OURS}, products in {dtypes}: {statistics.median(ratios):.2f}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--from", dest="start", required=True, help="the run of that checkpoint")
    parser.add_argument("--data", required=True)
    parser.add_argument("--text", default="text")
    parser.add_argument("--label", default="label")
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--product-dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--cpu-shards", type=int, default=1)
    parser.add_argument("--peer-dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--side", type=int, help="used by the script itself")
    return parser.parse_args()


def _commands(arguments: argparse.Namespace, data: Path, seed: int) -> dict[str, list[str]]:
    ours = [sys.executable, __file__, *sys.argv[1:], "--side", str(seed)]
    peer = [arguments.peer_python, str(FOLDER / "peers" / "transformers_classifier.py")]
    peer += [str(data), "--checkpoint", arguments.checkpoint, "--seed", str(seed)]
    for name in ("batch_size", "learning_rate", "epochs"):
        peer += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    return {OURS: ours, PEER: [*peer, "--product-dtype", arguments.peer_dtype]}


def _result(path: Path, command: list[str]) -> dict[str, Any]:
    """What a command prints in its last line, kept in a file."""
    if not path.exists():
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        path.write_text(printed.splitlines()[-1], encoding="utf-8")
        correct = json.loads(path.read_text(encoding="utf-8"))["correct"]
        print(f"{path.stem}: {statistics.mean(correct):.4f}", flush=True)
    return json.loads(path.read_text(encoding="utf-8"))


def _train(arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    import keras

    from tfpt import checkpoints, config, evaluation, training
    from tfpt.recipes import classify

    class Epochs(keras.callbacks.Callback):
        """Seconds from the beginning of each epoch to the end of its last step."""

        def __init__(self):
            super().__init__()
            self.seconds: list[float] = []

        def on_epoch_begin(self, epoch, logs=None):
            self.began = time.perf_counter()
            self.seconds.append(0.0)

        def on_train_batch_end(self, batch, logs=None):
            self.seconds[-1] = time.perf_counter() - self.began

    numbers = {
        "data.name": arguments.out / "data",
        "data.sequence_length": arguments.length,
        "start": arguments.start,
        "seed": seed,
        "training.batch_size": arguments.batch_size,
        "training.learning_rate": arguments.learning_rate,
        "training.epochs": arguments.epochs,
        "training.product_dtype": arguments.product_dtype,
        "training.step.cpu_shards": arguments.cpu_shards,
    }
    settings = config.override(
        classify.config(), [f"{name}={value}" for name, value in numbers.items()]
    )
    path, epochs = arguments.out / f"run-{seed}", Epochs()
    run = training.finetune(classify, settings, path, callbacks=[epochs], verbose=0)
    settings = config.from_dict(classify.config(), run.settings)
    data = classify.dataset(settings, run.tokenizer)
    model = checkpoints.load(
        path, build=lambda run: classify.model(settings, run.tokenizer, run.label_names)
    )
    labels, logits = evaluation.predictions(model, data.test)
    correct = (logits.argmax(axis=1) == labels).tolist()
    return {"correct": correct, "epoch_seconds": epochs.seconds}


if __name__ == "__main__":
    main()
