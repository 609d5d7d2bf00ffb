r"""Pre-training on real text, reading included: tfpt's recipe against that of transformers.

    python -m venv peers
    peers/bin/pip install 'torch==2.13.*' transformers accelerate
    python tests/benchmarks/end_to_end.py 'novels/*.txt' --vocabulary vocab.txt \
        --peer-python peers/bin/python --cpu-shards 2

What counts is real tokens a second: tokens of the texts with [CLS] and [SEP], padding left out.
Both are tokenized beforehand, and draw their masks (15%) while they train: tfpt by the recipe
`bert` on a token store, rows of 128 that sentences fill (--layout packed: whole sentences only,
several texts in a row where they fit), through `training.pretrain` into a run folder; transformers
by a line to a row padded to 128, its collator and its Trainer, the loss over all positions. Both
have bf16 products, AdamW, a linear schedule, clipped gradients, the same rows in a batch, size and
vocabulary. tfpt also learns of pairs of texts whether one follows the other (--pairing single: it
does not). Runs take turns; a ratio is the median of the rounds'. The time of a run is all of its
steps but the first, without the checkpoint at its end.

Real tokens of a line are few where lines are short; `real` tells the share of the positions, and
the last line what the ratio would be if neither padded.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))

OURS, PEER = "tfpt", "transformers"


def main() -> None:
    import step_work

    arguments = _parse(step_work.SIZES)
    if arguments.side:
        print(json.dumps(_train(step_work.Work.read(arguments.side), arguments)))
        return
    import turns

    from tfpt import pipelines

    tokenizer = pipelines.load_tokenizer(arguments.vocabulary)
    work = dataclasses.replace(
        step_work.SIZES[arguments.size], vocabulary_size=tokenizer.vocabulary_size
    )
    with tempfile.TemporaryDirectory() as folder:
        store = arguments.store or str(Path(folder) / "store")
        if not arguments.store:
            documents = pipelines.read_documents(arguments.texts, layout="text")
            pipelines.write_store(documents, tokenizer, store)
        runs = turns.take_turns(_commands(work, store, arguments), rounds=arguments.rounds)
    rows = []
    for name in (OURS, PEER):
        row = [name, f"{turns.median(runs[name], 'tokens_a_second'):,.0f}"]
        row += [f"{turns.median(runs[name], 'real_share'):.1%}"]
        row += [
            f"{turns.median(runs[name], key):,.0f}"
            for key in ("mean_wall_ms", "cpu_ms", "memory_mb")
        ]
        rows.append([*row, f"{turns.median(runs[name], 'others'):.0%}"])
    head = ["", "real tokens/s", "real", "ms a step", "processor ms", "peak MB", "others"]
    print(f"{work.name}, vocabulary of {work.vocabulary_size:,}, {arguments.rounds} rounds\n")
    print(turns.table(head, rows))
    ratio = 1 / turns.ratio(runs, PEER, OURS, "tokens_a_second")
    print(f"\nReal tokens a second, tfpt / transformers: {ratio:.2f}")
    print(f"Positions a second: {turns.ratio(runs, PEER, OURS, 'mean_wall_ms'):.2f}")
    if arguments.out:
        figures = {"options": vars(arguments), "runs": runs}
        Path(arguments.out).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _parse(sizes) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", help="a glob of running text")
    parser.add_argument("--vocabulary", required=True)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--store", help="of these texts and vocabulary, if there is one already")
    parser.add_argument("--size", choices=sizes, default="small")
    parser.add_argument("--pairing", choices=("next_sentence", "single"), default="next_sentence")
    parser.add_argument("--layout", choices=("padded", "packed"), default="padded")
    parser.add_argument("--product-dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--cpu-shards", type=int, default=1)
    parser.add_argument("--peer-dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60, help="that count, of each run")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--out", help="a JSON file")
    parser.add_argument("--side", help="used by the script itself")
    return parser.parse_args()


def _commands(work, store: str, arguments: argparse.Namespace) -> dict[str, list[str]]:
    shared = [arguments.texts, "--vocabulary", arguments.vocabulary]
    shared += ["--steps", str(arguments.steps), "--warmup", str(arguments.warmup)]
    ours = [sys.executable, __file__, *shared, "--store", store, "--side", work.written()]
    for name in ("peer_python", "layout", "pairing", "product_dtype", "cpu_shards"):
        ours += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    script = FOLDER / "peers" / "transformers_recipe.py"
    peer = [arguments.peer_python, str(script), work.written(), *shared]
    return {OURS: ours, PEER: [*peer, "--product-dtype", arguments.peer_dtype]}


def _train(work, arguments: argparse.Namespace) -> dict[str, float]:
    """Pre-train by the recipe into a run folder, and count what was trained on."""
    import step_work
    import tfpt_step

    from tfpt import training
    from tfpt.recipes import bert

    num_steps = arguments.warmup + arguments.steps
    settings = bert_settings(
        work,
        arguments.store,
        layout=arguments.layout,
        pairing=arguments.pairing,
        total_steps=num_steps,
        product_dtype=arguments.product_dtype,
        cpu_shards=arguments.cpu_shards,
    )
    clock = step_work.Clock(arguments.warmup)
    with tempfile.TemporaryDirectory() as folder:
        ticks = [tfpt_step.Ticks(clock)]
        training.pretrain(bert, settings, Path(folder) / "run", callbacks=ticks, verbose=0)
    result = clock.result()
    # A batch is a function of its number: those that were trained on can be drawn again.
    batches = bert.dataset(settings).train_batches(arguments.warmup).take(arguments.steps)
    tokens = sum(int(features["padding_mask"].numpy().sum()) for features, _, _ in batches)
    tokens /= arguments.steps
    result["tokens_a_second"] = 1e3 * tokens / result["mean_wall_ms"]
    result["real_share"] = tokens / work.batch_size / work.sequence_length
    return {**result, "memory_mb": step_work.peak_memory()}


def bert_settings(
    work,
    store: str,
    *,
    layout: str,
    pairing: str,
    total_steps: int,
    product_dtype: str,
    cpu_shards: int,
):
    """The recipe `bert` for a size of `step_work.SIZES` on a token store.

    Args:
        work: A `step_work.Work`.
        store: The folder.
        layout, pairing: Of `pipelines.Drawing`.
        total_steps: Of the training; also of its only epoch.
        product_dtype, cpu_shards: Of `config.Training` and its step.
    """
    from tfpt import config, models, pipelines
    from tfpt.recipes import bert

    return bert.Config(
        data=bert.Data(store=(store,), sequence_length=work.sequence_length),
        drawing=pipelines.Drawing(layout=layout, pairing=pairing),
        model=models.Model(
            num_layers=work.num_layers,
            hidden_dim=work.hidden_dim,
            num_heads=work.num_heads,
            intermediate_dim=work.intermediate_dim,
            dropout_rate=work.dropout_rate,
            max_sequence_length=max(512, work.sequence_length),
        ),
        training=config.Training(
            batch_size=work.batch_size,
            total_steps=total_steps,
            warmup_steps=min(10, total_steps),
            steps_per_epoch=total_steps,
            product_dtype=product_dtype,
            step=config.Step(cpu_shards=cpu_shards),
        ),
    )


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
