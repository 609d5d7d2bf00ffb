"""What XLA has to be told by the environment, before TensorFlow compiles for the first time."""

import importlib.metadata
import os

_YNNPACK = "--xla_cpu_experimental_ynn_fusion_type"


def set_flags() -> None:
    """Keep XLA from a part of itself that crashes; `import tfpt` does it.

    On a CPU XLA leaves sums and maxima to YNNPACK in TensorFlow 2.21. Every thread that runs a
    program while others do so builds what YNNPACK needs, and all of them write the constants of it
    into one list, without a lock: two devices of a strategy, `cpu_shards` or a parallel `map` then
    end the process, or have a constant freed that is still in use. Without YNNPACK the training
    step takes the same time. TensorFlow 2.20 does not have it, and refuses a flag it does not know.

    A flag that XLA_FLAGS has already is left. Where XLA has compiled before `tfpt` is imported,
    this comes too late: import tfpt first.
    """
    try:
        version = importlib.metadata.version("tensorflow")
    except importlib.metadata.PackageNotFoundError:  # as `tensorflow-cpu` or a nightly
        return
    given = os.environ.get("XLA_FLAGS", "")
    if version.startswith("2.21.") and _YNNPACK not in given:
        os.environ["XLA_FLAGS"] = f"{given} {_YNNPACK}=".strip()
