"""Several workers in one training: which of them writes, and whether all stand at the same step.

They share the run folder, as on a network disk: the chief writes it, all of them read it.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

_ANNOUNCED = "stop-at-"
# All gradients are summed in each step, so a worker that ends a step knows that all others have
# begun it. What it writes then, they find at the end of the next one at the latest.
_STEPS_AHEAD = 2


def has_several(strategy: tf.distribute.Strategy) -> bool:
    """Whether the replicas of a strategy are divided among several processes."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return False
    jobs = strategy.cluster_resolver.cluster_spec().as_dict()
    return sum(len(jobs.get(name, ())) for name in ("chief", "worker")) > 1


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes: the chief, or worker 0 where none is named."""
    if not has_several(strategy):
        return True
    resolver = strategy.cluster_resolver
    if resolver.task_type == "chief":
        return True
    has_chief = "chief" in resolver.cluster_spec().as_dict()
    return not has_chief and resolver.task_type == "worker" and resolver.task_id == 0


def check_same_step(strategy: tf.distribute.Strategy, step: int) -> None:
    """Make sure that all workers go on from the same step; waits for them.

    Raises:
        ValueError: They do not, as where each has a run folder of its own.
    """
    if not has_several(strategy):
        return
    mine = strategy.run(lambda: tf.constant([step], tf.int64))
    steps = sorted(set(strategy.gather(mine, axis=0).numpy().tolist()))
    if len(steps) > 1:
        raise ValueError(
            f"The workers would go on from different steps, {' and '.join(map(str, steps))}. All "
            "of them need the same run folder, on a disk that they share."
        )


def mean(strategy: tf.distribute.Strategy, value: float) -> float:
    """The mean of a number over all workers, the same for each of them; waits for them."""
    if not has_several(strategy):
        return value
    mine = strategy.run(lambda: tf.constant([value], tf.float64))
    return float(tf.reduce_mean(strategy.gather(mine, axis=0)))


@contextlib.contextmanager
def loss_named(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Raise what TensorFlow says of a worker that is gone as one sentence with what to do.

    Raises:
        ConnectionError: Another worker was killed, or cannot be reached.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        if not has_several(strategy):
            raise
        raise ConnectionError(
            "Another worker of this training is gone. Start all of them again by the same command: "
            "the training goes on from its last checkpoint."
        ) from error


class StopTogether:
    """Lets workers agree on the step that all of them stop at, by an empty file in a folder.

    It takes no exchange between devices. A folder whose changes reach the other workers late, as
    one on NFS with a cache of names, can make a worker miss the step: it then fails as it does
    when another worker is gone, and the run goes on from the checkpoint before.

    Args:
        folder: Shared by the workers.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def announce(self, step: int) -> None:
        """Say, at the end of `step`, that this worker has to stop; once."""
        if self.step() is None:
            (self.folder / f"{_ANNOUNCED}{step + _STEPS_AHEAD}").touch()

    def step(self) -> int | None:
        """The step at whose end all stop, or None; the first where several were announced."""
        found = self.folder.glob(f"{_ANNOUNCED}*")
        return min((int(path.name.removeprefix(_ANNOUNCED)) for path in found), default=None)

    def clear(self) -> None:
        """Forget what was announced; done by the chief, before the first step."""
        for path in self.folder.glob(f"{_ANNOUNCED}*"):
            path.unlink(missing_ok=True)
