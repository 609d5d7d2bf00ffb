"""Writes checkpoints without end in processes that are killed, each after a random time.

Each process begins by checking what the one before has left. A script, since processes can be
forked only before TensorFlow does its first work: save_to_kill.py FOLDER NUM_KILLS
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfpt import state_files

SHAPE, NUM_VARIABLES, NUM_KEPT = (200_000,), 5, 2


def check(folder, told):
    """All values of the newest checkpoint are those of its step, and no later one was told of."""
    state_files.sweep(folder)
    path, damaged = state_files.newest_whole(folder)
    assert not damaged, damaged
    step = int(path.name.removeprefix("step-")) if path else 0
    assert step >= told, (step, told)
    there = state_files.steps(folder)
    assert not any(state_files.damage(folder / f"step-{n:08}") for n in there)
    assert [file.name for file in sorted(folder.iterdir())] == [f"step-{n:08}" for n in there]
    assert len(there) in ((NUM_KEPT, NUM_KEPT + 1) if step >= NUM_KEPT else (step,)), there
    for name in state_files.names(path) if path else ():
        value = tf.train.load_checkpoint(str(path / "state")).get_tensor(name)
        np.testing.assert_array_equal(value, np.full(SHAPE, step))
    return step


def save(folder, step, pipe):
    state = {"model": {str(n): tf.Variable(tf.zeros(SHAPE)) for n in range(NUM_VARIABLES)}}
    while True:
        step += 1
        for variable in state["model"].values():
            variable.assign(tf.fill(SHAPE, float(step)))
        state_files.write(state_files.snapshot(state), folder, step, num_kept=NUM_KEPT)
        os.write(pipe, f"{step}\n".encode())


def main(folder, num_kills):
    folder.mkdir(exist_ok=True)
    draw = random.Random(num_kills)
    told = 0
    for _ in range(num_kills):
        reading, writing = os.pipe()
        process = os.fork()
        if process == 0:
            save(folder, check(folder, told), writing)
        os.close(writing)
        lines = os.read(reading, 100)  # the first checkpoint, or the end after an error
        time.sleep(draw.random() * 0.3)
        os.kill(process, signal.SIGKILL)
        while more := os.read(reading, 100_000):
            lines += more
        os.close(reading)
        _, status = os.waitpid(process, 0)
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) == signal.SIGKILL
        told = int(lines.split()[-1])
    check(folder, told)
    print(told)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
