"""The step of torch on replicas of one thread each, one on each core, gradients averaged by gloo.

    python tests/benchmarks/peers/torch_replicas.py WORK --steps 20

The batch is divided among them; otherwise as torch_step.py. Processor time and memory are the sums
over the replicas.
"""

import argparse
import json
import os
import socket
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]


def main() -> None:
    import step_work
    from torch import multiprocessing

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=step_work.Work.read)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--product-dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--attention", choices=("sdpa", "eager"), default="sdpa")
    parser.add_argument("--replicas", type=int, default=len(step_work.cores()))
    arguments = parser.parse_args()
    if arguments.work.batch_size % arguments.replicas:
        parser.error(f"{arguments.work.batch_size} rows for {arguments.replicas} replicas")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(_free_port()), OMP_NUM_THREADS="1")
    queue = multiprocessing.get_context("spawn").SimpleQueue()
    multiprocessing.spawn(replica, (arguments, queue), nprocs=arguments.replicas)
    results = [queue.get() for _ in range(arguments.replicas)]
    # The replicas wait for each other in every step.
    slowest = max(results, key=lambda result: result["wall_ms"])
    sums = {key: sum(result[key] for result in results) for key in ("cpu_ms", "memory_mb")}
    print(json.dumps({**slowest, **sums}))


def replica(rank: int, arguments: argparse.Namespace, queue) -> None:
    import step_work
    import torch
    import torch_model
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    cores = step_work.cores()
    os.sched_setaffinity(0, {cores[rank % len(cores)]})
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=arguments.replicas)
    model = DistributedDataParallel(torch_model.pretrainer(arguments.work, arguments.attention))
    optimizer = torch_model.optimizer(model)
    rows = arguments.work.batch_size // arguments.replicas
    share = slice(rank * rows, (rank + 1) * rows)
    batch = {name: x[share] for name, x in torch_model.tensors(arguments.work.batch()).items()}
    clock = step_work.Clock(arguments.warmup)
    for _ in range(arguments.warmup + arguments.steps):
        torch_model.step(model, optimizer, batch, arguments.product_dtype)
        clock.tick()
    queue.put({**clock.result(), "memory_mb": step_work.peak_memory()})
    distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


if __name__ == "__main__":
    main()
