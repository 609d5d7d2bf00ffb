r"""The course of the loss with bf16 products beside float32: same first weights, batches, dropout.

    python tests/benchmarks/loss_curve.py 'novels/*.txt' --vocabulary vocab.txt --cpu-shards 2 \
        --steps 2000 --out curve.json

Rows of 128 by the recipe `bert` from a token store of the texts, at the size that --size names, the
learning rate rising for a tenth of the steps and falling to 0. Printed are means over the 50 steps
that end at some steps, and the largest relative difference of the curves, averaged over 50 steps
each, at any step. To know how much of a difference is chance, --again trains float32 a second time
with dropout from another seed.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))

AVERAGED = 50
SHOWN = (100, 200, 500, 1000, 2000)


def main() -> None:
    import step_work

    arguments = _parse(step_work.SIZES)
    if arguments.side:
        work = step_work.SIZES[arguments.size]
        rows = arguments.batch_size or work.batch_size
        _write(arguments.out, _losses(dataclasses.replace(work, batch_size=rows), arguments))
        return
    import turns

    curves = {}
    with tempfile.TemporaryDirectory() as folder:
        store = arguments.store or str(Path(folder) / "store")
        if not arguments.store:
            from tfpt import pipelines

            documents = pipelines.read_documents(arguments.texts, layout="text")
            tokenizer = pipelines.load_tokenizer(arguments.vocabulary)
            pipelines.write_store(documents, tokenizer, store)
        for name in ("float32", "bfloat16", *(["float32 again"] if arguments.again else [])):
            out = str(Path(folder) / "losses.json")
            command = [sys.executable, __file__, *sys.argv[1:]]
            # Of an option that is given twice the last one counts.
            command += ["--store", store, "--out", out, "--side", name]
            subprocess.run(command, check=True)
            curves[name] = json.loads(Path(out).read_text(encoding="utf-8"))
            if arguments.out:
                options = {key: value for key, value in vars(arguments).items() if key != "side"}
                _write(arguments.out, {"options": options, "losses": curves})
    means = {name: averaged(losses) for name, losses in curves.items()}
    first, *others = means
    shown = [step for step in SHOWN if AVERAGED <= step <= arguments.steps]
    rows = [
        [str(step), *(f"{mean[step - AVERAGED]:.4f}" for mean in means.values())] for step in shown
    ]
    print(turns.table(["step", *means], rows), "\n")
    for name in others:
        difference = np.abs(means[name] / means[first] - 1)
        step = int(np.argmax(difference)) + AVERAGED
        print(f"{name}: at most {difference.max():.2%} from {first}, at step {step}", end="")
        print(f"; {difference[-1]:.2%} at the end")


def averaged(losses: list[float]) -> np.ndarray:
    """Means over each 50 steps that follow on one another; the first is that of steps 1 to 50."""
    return np.convolve(losses, np.full(AVERAGED, 1 / AVERAGED), mode="valid")


def _parse(sizes) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", help="a glob of running text")
    parser.add_argument("--vocabulary", required=True)
    parser.add_argument("--store", help="of these texts and vocabulary, if there is one already")
    parser.add_argument("--size", choices=sizes, default="small")
    parser.add_argument("--layout", choices=("padded", "packed"), default="padded")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--batch-size", type=int, help="rows; by default those of the size")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--cpu-shards", type=int, default=1)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--out", help="a JSON file with every loss")
    parser.add_argument("--side", help="used by the script itself")
    arguments = parser.parse_args()
    if arguments.steps < AVERAGED:
        parser.error(f"--steps is at least {AVERAGED}, which the curves are averaged over")
    return arguments


def _losses(work, arguments: argparse.Namespace) -> list[float]:
    """The loss of each step."""
    import end_to_end
    import keras

    from tfpt import distribution, training
    from tfpt.recipes import bert

    dtype, _, again = arguments.side.partition(" ")
    distribution.threads(arguments.cpu_shards)
    settings = end_to_end.bert_settings(
        work,
        arguments.store,
        layout=arguments.layout,
        pairing="next_sentence",
        total_steps=arguments.steps,
        product_dtype=dtype,
        cpu_shards=arguments.cpu_shards,
    )
    data = bert.dataset(settings)
    keras.utils.set_random_seed(settings.seed)
    model = bert.model(settings, data.tokenizer)
    if again:
        for generator in _seed_states(model):
            generator.assign(generator + 1)
    training.compile(
        model,
        learning_rate=arguments.learning_rate,
        total_steps=arguments.steps,
        warmup_steps=arguments.steps // 10,
        step=settings.training.step,
    )
    losses: list[float] = []

    class Losses(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            losses.append(float(self.model.read_window()["loss"]))
            if len(losses) % 100 == 0:
                told = f"{arguments.side}: step {len(losses)}, loss {np.mean(losses[-50:]):.3f}"
                print(told, file=sys.stderr, flush=True)

    model.fit(
        data.train_batches(0),
        steps_per_epoch=arguments.steps,
        callbacks=[Losses()],
        verbose=0,
        shuffle=False,
    )
    return losses


def _seed_states(model) -> list:
    return [
        weight
        for weight in model.non_trainable_variables
        if weight.path.endswith("seed_generator_state")
    ]


def _write(path: str, figures) -> None:
    Path(path).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
