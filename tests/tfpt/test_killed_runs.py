"""SIGKILL at random moments, also in the middle of the writing of a checkpoint; then go on."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_bert

from tfpt import callbacks, state_files, training

SCRIPT = Path(__file__).with_name("run_to_kill.py")
KINDS = [("one", 1), ("mirrored", 2), ("multi_worker", 2)]


class Process:
    """A worker of a training, and the steps it has told of."""

    def __init__(self, folder, kind, num_devices, environment):
        self.steps = 0
        devices = 1 if kind == "multi_worker" else num_devices
        self.process = subprocess.Popen(
            [sys.executable, SCRIPT, folder, kind, str(devices)],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.errors = []
        self.readers = [threading.Thread(target=self._count), threading.Thread(target=self._keep)]
        for reader in self.readers:
            reader.start()

    def _count(self):
        for _ in self.process.stdout:
            self.steps += 1

    def _keep(self):
        self.errors.extend(self.process.stderr)

    def end(self, timeout):
        """The exit code; a worker whose others are gone is not waited for without end."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for reader in self.readers:
            reader.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return self.process.returncode


def start(folder, kind, num_devices):
    if kind != "multi_worker":
        return [Process(folder, kind, num_devices, {})]
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(num_devices)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        cluster = {"worker": [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]}
    return [
        Process(
            folder,
            kind,
            num_devices,
            {
                "TF_CONFIG": json.dumps(
                    {"cluster": cluster, "task": {"type": "worker", "index": index}}
                )
            },
        )
        for index in range(num_devices)
    ]


def run_whole(folder, kind, num_devices):
    workers = start(folder, kind, num_devices)
    for worker in workers:
        assert worker.end(600) == 0, "".join(worker.errors)[-3_000:]


def run_killed(folder, kind, num_devices, draw, most_kills):
    """Kill one worker again and again, after a few steps each time; then let the run end."""
    kills = 0
    while True:
        workers = start(folder, kind, num_devices)
        victim = draw.choice(workers)
        steps = draw.randint(1, 8) if kills < most_kills else 1_000
        while victim.steps < steps and victim.process.poll() is None:
            time.sleep(0.005)
        # A step takes some milliseconds, and so does the writing of a checkpoint.
        time.sleep(draw.random() * 0.05)
        if victim.process.poll() is None and kills < most_kills:
            victim.process.send_signal(signal.SIGKILL)
            kills += victim.end(60) == -signal.SIGKILL
        codes = [worker.end(60) for worker in workers]
        if not any(codes):
            return kills
        others = [worker for worker in workers if worker is not victim]
        assert victim.process.returncode == -signal.SIGKILL, "".join(victim.errors)[-3_000:]
        assert all(worker.process.returncode for worker in others)


def scalars(folder):
    """The last value of each tag and step in TensorBoard's files, without those of time."""
    from tensorboard.backend.event_processing import event_accumulator

    last = {}
    for path in sorted(
        folder.rglob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime
    ):
        events = event_accumulator.EventAccumulator(str(path), {"tensors": 0, "scalars": 0})
        events.Reload()
        for tag in events.Tags()["tensors"]:
            if tag.startswith(("speed/", "_hparams")):
                continue
            for event in events.Tensors(tag):
                value = event.tensor_proto.SerializeToString()
                last[path.parent.name, tag, event.step] = value
    return last


def check_killed_equals_whole(tmp_path, kind, num_devices, most_kills):
    run_whole(tmp_path / "whole", kind, num_devices)
    kills = run_killed(tmp_path / "killed", kind, num_devices, random.Random(0), most_kills)
    with (
        np.load(tmp_path / "whole/state.npz") as whole,
        np.load(tmp_path / "killed/state.npz") as at,
    ):
        assert tiny_bert.largest_difference(dict(whole), dict(at)) == 0
    runs = [
        training.Run(tmp_path / name, tokenizer=tiny_bert.TOKENIZER) for name in ("whole", "killed")
    ]
    assert callbacks.history(runs[0]) == callbacks.history(runs[1])
    for name in ("checkpoints", "best"):
        assert state_files.steps(runs[0].path / name) == state_files.steps(runs[1].path / name)
    there, here = (scalars(run.path / "logs") for run in runs)
    assert there
    assert there == here
    return kills


@pytest.mark.timeout(600)
def test_a_killed_run_ends_as_if_nothing_had_happened(tmp_path):
    assert check_killed_equals_whole(tmp_path, "one", 1, most_kills=2) == 2


@pytest.mark.slow
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize(("kind", "num_devices"), KINDS)
def test_a_run_killed_20_times_ends_as_if_nothing_had_happened(tmp_path, kind, num_devices):
    assert check_killed_equals_whole(tmp_path, kind, num_devices, most_kills=20) >= 10
