"""What scripts share that fine-tune tfpt and transformers alike: options, turns, seconds."""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import labelled

PEERS = Path(__file__).parent / "peers"
OURS, PEER = "tfpt", "transformers"
Runs = dict[str, list[dict[str, Any]]]  # by side, of each seed what its process printed


def parser(description: str, *, length: int, learning_rate: float, epochs: int, seeds: int):
    """The options of a script; those of its data are its own."""
    found = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--checkpoint", required=True)
    found.add_argument("--from", dest="start", required=True, help="the run of that checkpoint")
    found.add_argument("--length", type=int, default=length)
    found.add_argument("--batch-size", type=int, default=32)
    found.add_argument("--learning-rate", type=float, default=learning_rate)
    found.add_argument("--epochs", type=int, default=epochs)
    found.add_argument("--seeds", type=int, default=seeds)
    found.add_argument("--product-dtype", choices=("float32", "bfloat16"), default="bfloat16")
    found.add_argument("--cpu-shards", type=int, default=1)
    found.add_argument("--peer-dtype", choices=("float32", "bfloat16"), default="float32")
    found.add_argument("--peer-python", required=True)
    found.add_argument("--out", type=Path, required=True)
    found.add_argument("--side", type=int, help="used by the script itself")
    return found


def keep_options(arguments: argparse.Namespace) -> None:
    """Stop where OUT holds results of other numbers."""
    unlike = {"out", "seeds", "side", "peer_python"}
    labelled.keep_options(
        arguments.out, {name: one for name, one in vars(arguments).items() if name not in unlike}
    )


def runs(arguments: argparse.Namespace, peer: list[str]) -> Runs:
    """Train each side with each seed, in turns, each in a process of its own.

    Args:
        arguments: Of `parser`.
        peer: A script of `peers`, and the options that are its own.
    """
    numbers = [
        f"--{name.replace('_', '-')}={getattr(arguments, name)}"
        for name in ("checkpoint", "batch_size", "learning_rate", "epochs")
    ]
    script = [arguments.peer_python, str(PEERS / peer[0]), *peer[1:], *numbers]
    script += ["--product-dtype", arguments.peer_dtype]
    found: Runs = {OURS: [], PEER: []}
    for seed in map(str, range(arguments.seeds)):
        for side, command in (
            (OURS, [sys.executable, *sys.argv, "--side", seed]),
            (PEER, [*script, "--seed", seed]),
        ):
            found[side].append(_result(arguments.out / f"{side}-{seed}.json", command))
    return found


def _result(path: Path, command: list[str]) -> dict[str, Any]:
    """What a command prints in its last line, kept in a file."""
    if not path.exists():
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        path.write_text(printed.splitlines()[-1], encoding="utf-8")
        print(f"{path.stem} is trained", flush=True)
    return json.loads(path.read_text(encoding="utf-8"))


def print_seconds(arguments: argparse.Namespace, runs: Runs) -> None:
    """Print the seconds of an epoch but the first, and the median of their ratios by seed."""
    seconds = {
        side: [statistics.median(one["epoch_seconds"][1:] or one["epoch_seconds"]) for one in found]
        for side, found in runs.items()
    }
    for side, values in seconds.items():
        print(f"{side}: {statistics.median(values):.1f} s an epoch")
    ratios = [peer / ours for ours, peer in zip(*seconds.values(), strict=True)]
    dtypes = f"{arguments.peer_dtype} / {arguments.product_dtype}"
    print(f"{PEER} / {OURS}, products in {dtypes}: {statistics.median(ratios):.2f}")


def fine_tune(recipe: ModuleType, arguments: argparse.Namespace, assignments: list[str]):
    """Train tfpt's side with the seed `arguments.side`.

    Args:
        recipe: A fine-tuning recipe.
        arguments: Of `parser`.
        assignments: What else is set, as FIELD=VALUE.

    Returns:
        `(model, dataset, seconds)`: with the weights of the best epoch; what `recipe.dataset`
        gives; of each epoch from its beginning to the end of its last step.
    """
    import keras

    from tfpt import checkpoints, config, training

    class Epochs(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.seconds: list[float] = []

        def on_epoch_begin(self, epoch, logs=None):
            self.began = time.perf_counter()
            self.seconds.append(0.0)

        def on_train_batch_end(self, batch, logs=None):
            self.seconds[-1] = time.perf_counter() - self.began

    numbers = {
        "data.sequence_length": arguments.length,
        "start": arguments.start,
        "seed": arguments.side,
        "training.batch_size": arguments.batch_size,
        "training.learning_rate": arguments.learning_rate,
        "training.epochs": arguments.epochs,
        "training.product_dtype": arguments.product_dtype,
        "training.step.cpu_shards": arguments.cpu_shards,
    }
    assigned = [*assignments, *(f"{name}={value}" for name, value in numbers.items())]
    settings = config.override(recipe.config(), assigned)
    path, epochs = arguments.out / f"run-{arguments.side}", Epochs()
    run = training.finetune(recipe, settings, path, callbacks=[epochs], verbose=0)
    settings = config.from_dict(recipe.config(), run.settings)
    data = recipe.dataset(settings, run.tokenizer)
    model = checkpoints.load(
        path, build=lambda run: recipe.model(settings, run.tokenizer, run.label_names)
    )
    return model, data, epochs.seconds
