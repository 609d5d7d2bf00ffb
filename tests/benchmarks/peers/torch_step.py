"""The step of torch, eager or compiled: bf16 autocast, head at the masks only, fused AdamW.

    python tests/benchmarks/peers/torch_step.py WORK --steps 20
    python tests/benchmarks/peers/torch_step.py WORK --compile

Run by ../training_step.py; WORK is `Work.written()` of ../step_work.py. --compile needs a compiler
of C++; the losses and their gradient are compiled, AdamW is fused as it is.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]


def main() -> None:
    import step_work
    import torch_model

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=step_work.Work.read)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--product-dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--attention", choices=("sdpa", "eager"), default="sdpa")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    model = torch_model.pretrainer(arguments.work, arguments.attention)
    optimizer = torch_model.optimizer(model)
    if arguments.compile:
        model.compile()
    batch = torch_model.tensors(arguments.work.batch())
    clock = step_work.Clock(arguments.warmup)
    for _ in range(arguments.warmup + arguments.steps):
        torch_model.step(model, optimizer, batch, arguments.product_dtype)
        clock.tick()
    print(json.dumps({**clock.result(), "memory_mb": step_work.peak_memory()}))


if __name__ == "__main__":
    main()
