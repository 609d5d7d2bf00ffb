r"""tfpt's training step against its peers, in turns, on one machine.

    python -m venv peers
    peers/bin/pip install 'torch==2.13.*' transformers accelerate
    python tests/benchmarks/training_step.py --peer-python peers/bin/python --cpu-shards 2
    python tests/benchmarks/training_step.py --peer-python peers/bin/python --cpu-shards 2 \
        --size base --peers torch
    python tests/benchmarks/training_step.py --peers hub-float32 --product-dtype float32
    python tests/benchmarks/training_step.py --fit-overhead --cpu-shards 2
    python tests/benchmarks/training_step.py --peak --peers --cpu-shards 2
    python tests/benchmarks/training_step.py --peer-python peers/bin/python --cpu-shards 2 \
        --curve lengths --peers torch

(For torch take its build without CUDA where the index offers one.) Every run is a process of its
own with all cores; the runs take turns (A B A B ...), and a ratio is the median of the ratios of
the rounds. A step is on one constant batch of random tokens without padding: rows of 128, masked
words at 20 places of each and next sentences, dropout 0.1, a vocabulary of 30,522 entries, AdamW.
The first steps of a run do not count, nor the building of the model. tfpt goes through
`models.encoder`, `objectives.model`, `training.compile` and Keras' `fit`; its step also clips the
gradient, watches for what is not finite and counts right words, which the peers' do not. Its last
layer gives states only where objectives read them (`models.at_masks`), which changes no output;
`tfpt-all-states` gives all of them, as the peers do.

The peers: `torch`, BERT of transformers, eager, bf16 autocast, its head at the masks only, fused
AdamW; `torch-compile`, the same by torch.compile (needs a compiler of C++); `torch-replicas`, eager
on one replica of one thread for each core, the batch divided among them, gradients averaged by
gloo; `hub`, keras-hub's backbone and mask head with `fit` as it comes (float32); `hub-...`, its
other settings.

The peak is the fastest of some large products of matrices of the product dtype. What counts as
work of a step is told by `tfpt.flops.forward_flops`: products of matrices only, the gradient twice
the forward pass, the head at the masks only, products of the attention included; states that are
not calculated are no work.

`others` is the share of the machine that other processes took meanwhile: with more than a few
percent, measure again. Tables are Markdown; --out writes all figures as JSON. On a processor
without instructions for bf16 (AVX-512 BF16 or AMX) compare in float32: --product-dtype float32 and
the peers named so.
"""

import argparse
import dataclasses
import json
import os
import platform
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))

OURS = "tfpt"
ALL_STATES = "tfpt-all-states"
TORCH = {
    "torch": ("torch_step.py", "bfloat16"),
    "torch-compile": ("torch_step.py", "bfloat16"),
    "torch-replicas": ("torch_replicas.py", "bfloat16"),
    "torch-float32": ("torch_step.py", "float32"),
    "torch-compile-float32": ("torch_step.py", "float32"),
    "torch-replicas-float32": ("torch_replicas.py", "float32"),
}
HUB = {
    "hub": ("float32", "auto"),
    "hub-float32": ("float32", "no"),
    "hub-jit-float32": ("float32", "yes"),
    "hub-bfloat16": ("mixed_bfloat16", "no"),
    "hub-bfloat16-jit": ("mixed_bfloat16", "yes"),
}


def main() -> None:
    import step_work

    arguments = _parse(step_work.SIZES)
    machine = _machine()
    if not machine["bf16_instructions"]:
        told = "This processor has no instructions for bf16: products in it, above all torch's, are"
        print(f"{told} far slower than in float32.", file=sys.stderr)
    work = step_work.SIZES[arguments.size]
    work = dataclasses.replace(work, batch_size=arguments.batch_size or work.batch_size)
    figures: dict[str, object] = {"machine": machine, "options": vars(arguments)}
    if arguments.fit_overhead:
        figures["fit_overhead"] = _fit_overhead(work, arguments)
    elif arguments.curve:
        points = step_work.lengths(work) if arguments.curve == "lengths" else step_work.sizes()
        figures["curve"] = _curve(points, arguments)
    else:
        figures["steps"] = _steps(work, arguments)
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _parse(sizes) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=sizes, default="small")
    peers = [ALL_STATES, *TORCH, *HUB]
    parser.add_argument(
        "--peers", nargs="*", choices=peers, help="by default all but float32 and compiled"
    )
    parser.add_argument("--peer-python", help="of the environment of torch's peers")
    parser.add_argument("--product-dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--cpu-shards", type=int, default=1)
    parser.add_argument("--attention", choices=("sdpa", "eager"), default="sdpa", help="of torch")
    parser.add_argument("--batch-size", type=int, help="rows; by default those of the size")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="that count, of each run")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--peak", action="store_true", help="measure the share of the peak too")
    parser.add_argument("--fit-overhead", action="store_true", help="what `fit` adds, and no peers")
    parser.add_argument("--curve", choices=("lengths", "sizes"), help="cost along one of them")
    parser.add_argument("--out", help="a JSON file")
    arguments = parser.parse_args()
    if arguments.warmup < 1:
        parser.error("--warmup is at least 1: the first step traces and compiles")
    if arguments.peers is None:
        # torch.compile takes minutes to compile, in every round.
        left_out = ("float32", "compile")
        arguments.peers = [peer for peer in peers if not peer.endswith(left_out)]
        if arguments.fit_overhead:
            arguments.peers = []
    if not arguments.peer_python and any(peer in TORCH for peer in arguments.peers):
        parser.error("the peers of torch need --peer-python, see --help; or choose --peers")
    return arguments


def _command(name: str, work, arguments: argparse.Namespace) -> list[str]:
    numbers = ["--steps", str(arguments.steps), "--warmup", str(arguments.warmup)]
    if name in TORCH:
        script, dtype = TORCH[name]
        python, options = arguments.peer_python, ["--product-dtype", dtype]
        options += ["--attention", arguments.attention]
        options += ["--compile"] if name.startswith("torch-compile") else []
        path = FOLDER / "peers" / script
    elif name in HUB:
        policy, jit_compile = HUB[name]
        python, path = sys.executable, FOLDER / "peers" / "keras_hub_step.py"
        options = ["--policy", policy, "--jit-compile", jit_compile]
    else:
        python, path = sys.executable, FOLDER / "tfpt_step.py"
        options = ["--product-dtype", arguments.product_dtype]
        options += ["--cpu-shards", str(arguments.cpu_shards)]
        options += ["--all-states"] if name == ALL_STATES else []
    return [python, str(path), work.written(), *numbers, *options]


def _steps(work, arguments: argparse.Namespace) -> dict[str, list]:
    """Each of the peers beside tfpt."""
    import turns

    names = [OURS, *arguments.peers]
    commands = {name: _command(name, work, arguments) for name in names}
    if arguments.peak:
        commands["peak"] = [*_command(OURS, work, arguments), "--what", "peak"]
    runs = turns.take_turns(commands, rounds=arguments.rounds)
    flops = {name: _flops(work, name) for name in names}
    print(f"{work.name}, tfpt with {_ways(arguments)}, {arguments.rounds} rounds\n")
    head = ["", "ms a step", "processor ms", "tokens/s", "GFLOP/s", "peak MB", "others"]
    rows = []
    for name in names:
        wall = turns.median(runs[name], "wall_ms")
        row = [name, f"{wall:,.0f}", f"{turns.median(runs[name], 'cpu_ms'):,.0f}"]
        row += [f"{1e3 * work.batch_size * work.sequence_length / wall:,.0f}"]
        row += [f"{flops[name] / wall / 1e6:,.0f}", f"{turns.median(runs[name], 'memory_mb'):,.0f}"]
        rows.append([*row, f"{turns.median(runs[name], 'others'):.0%}"])
    print(turns.table(head, rows), "\n")
    if arguments.peers:
        rows = [
            [f"{name} / tfpt"]
            + [f"{turns.ratio(runs, name, OURS, key):.2f}" for key in ("wall_ms", "cpu_ms")]
            for name in arguments.peers
        ]
        print(turns.table(["ratio, median of the rounds", "wall", "processor"], rows), "\n")
    if arguments.peak:
        peak = max(run["peak_gflops"] for run in runs["peak"])
        share = flops[OURS] / turns.median(runs[OURS], "wall_ms") / 1e6 / peak
        print(f"Peak in {arguments.product_dtype}: {peak:,.0f} GFLOP/s, tfpt's share {share:.1%}\n")
    return runs


def _curve(points: list, arguments: argparse.Namespace) -> list[dict]:
    """Cost along lengths or sizes, tfpt beside the peers."""
    import turns

    names = [OURS, *arguments.peers]
    rows, found = [], []
    for work in points:
        commands = {name: _command(name, work, arguments) for name in names}
        runs = turns.take_turns(commands, rounds=arguments.rounds)
        found.append({"work": json.loads(work.written()), "runs": runs})
        wall = {name: turns.median(runs[name], "wall_ms") for name in names}
        row = [work.name, *(f"{wall[name]:,.0f}" for name in names)]
        row += [f"{turns.ratio(runs, name, OURS, 'wall_ms'):.2f}" for name in arguments.peers]
        row += [f"{1e3 * wall[OURS] / work.batch_size / work.sequence_length:.2f}"]
        row += [f"{_flops(work, OURS) / wall[OURS] / 1e6:,.0f}"]
        rows.append([*row, *(f"{turns.median(runs[name], 'memory_mb'):,.0f}" for name in names)])
    head = ["", *(f"{name} ms" for name in names), *(f"{name} / tfpt" for name in arguments.peers)]
    head += ["tfpt µs a token", "tfpt GFLOP/s", *(f"{name} MB" for name in names)]
    print(f"tfpt with {_ways(arguments)}, {arguments.rounds} rounds\n")
    print(turns.table(head, rows))
    return found


def _fit_overhead(work, arguments: argparse.Namespace) -> dict[str, list]:
    """What Keras' loop adds to the bare step, measured within one process."""
    import turns

    command = [*_command(OURS, work, arguments), "--what", "overhead"]
    command += ["--blocks", str(arguments.rounds)]
    runs = turns.take_turns({OURS: command}, rounds=1)
    (run,) = runs[OURS]
    rows = [
        [told, *(f"{run[f'{name}_{unit}_ms']:,.1f}" for unit in ("wall", "cpu"))]
        + [f"{run[f'{name}_added_{unit}']:+.1%}" for unit in ("wall", "cpu")]
        for name, told in (
            ("bare", "loop around `train_function`"),
            ("fit", "`fit`"),
            ("fit_with_bar", "`fit` with its progress bar"),
        )
    ]
    print(
        f"{work.name}, {_ways(arguments)}, {arguments.rounds} blocks of {arguments.steps} steps\n"
    )
    print(turns.table(["", "ms a step", "processor ms", "added", "added, processor"], rows))
    print(f"\nOthers took {run['others']:.0%} of the machine.")
    return runs


def _flops(work, name: str) -> float:
    from tfpt import flops, models

    size = models.Model(
        num_layers=work.num_layers,
        hidden_dim=work.hidden_dim,
        num_heads=work.num_heads,
        intermediate_dim=work.intermediate_dim,
    )
    batch = flops.Batch(
        batch_size=work.batch_size,
        sequence_length=work.sequence_length,
        vocabulary_size=work.vocabulary_size,
        num_masks=work.num_masks,
        num_states=1 + work.num_masks if name == OURS else None,
    )
    return flops.step_flops(size, batch)


def _ways(arguments: argparse.Namespace) -> str:
    return f"products in {arguments.product_dtype}, cpu_shards={arguments.cpu_shards}"


def _machine() -> dict[str, object]:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    told = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
    flags = set(told.get("flags", "").split())
    return {
        "processor": told.get("model name", platform.processor()),
        "cores": len(os.sched_getaffinity(0)),
        "bf16_instructions": sorted(flags & {"avx512_bf16", "amx_bf16", "avx_ne_convert"}),
    }


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
