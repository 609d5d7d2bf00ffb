"""Several workers: which one writes, and that all of them stop at the same step."""

import random

import pytest
import tensorflow as tf

from tfpt import workers


class Resolver(tf.distribute.MultiWorkerMirroredStrategy):
    """A strategy of which only its cluster is known."""

    def __init__(self, jobs, kind, number):
        spec = tf.train.ClusterSpec(
            {name: [f"{name}{n}:1" for n in range(jobs[name])] for name in jobs}
        )
        self.resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            spec, task_type=kind, task_id=number
        )

    @property
    def cluster_resolver(self):
        return self.resolver


@pytest.mark.parametrize(
    ("jobs", "kind", "number", "several", "chief"),
    [
        ({}, None, None, False, True),
        ({"worker": 1}, "worker", 0, False, True),
        ({"worker": 2}, "worker", 0, True, True),
        ({"worker": 2}, "worker", 1, True, False),
        ({"chief": 1, "worker": 1}, "chief", 0, True, True),
        ({"chief": 1, "worker": 1}, "worker", 0, True, False),
    ],
)
def test_the_chief_or_the_first_worker_writes(jobs, kind, number, several, chief):
    strategy = Resolver(jobs, kind, number)
    assert workers.has_several(strategy) is several
    assert workers.is_chief(strategy) is chief


def test_one_process_is_the_chief_and_stands_at_one_step():
    for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0"])):
        assert not workers.has_several(strategy)
        assert workers.is_chief(strategy)
        workers.check_same_step(strategy, 3)


def test_all_workers_stop_at_the_same_step_whichever_was_asked_when(tmp_path):
    """In any order that a step's sum of gradients allows: none ends it before all have begun it."""
    draw = random.Random(0)
    for trial in range(200):
        folder = tmp_path / str(trial)
        folder.mkdir()
        count = draw.choice((2, 3))
        together = [workers.StopTogether(folder) for _ in range(count)]
        asked = {draw.randrange(count): draw.randrange(1, 6) for _ in range(draw.choice((1, 2)))}
        ended, stopped = [0] * count, {}
        while len(stopped) < count:
            # Begun is a step when the one before has ended; a worker that stopped begins no more.
            begun = [step if n in stopped else step + 1 for n, step in enumerate(ended)]
            able = [n for n in range(count) if n not in stopped and min(begun) > ended[n]]
            assert able, "a worker waits for one that has stopped"
            worker = draw.choice(able)
            ended[worker] += 1
            step = ended[worker]
            if asked.get(worker, step + 1) <= step:
                together[worker].announce(step)
            last = together[worker].step()
            if last is not None and step >= last:
                stopped[worker] = step
        assert len(set(stopped.values())) == 1, (trial, asked, stopped)
        together[0].clear()
        assert together[0].step() is None
