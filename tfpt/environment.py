"""The environment as a bug report needs it."""

import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

import tfpt

_PACKAGES = (
    "tensorflow",
    "tensorflow-text",
    "keras",
    "keras-hub",
    "tensorflow-datasets",
    "tensorboard",
    "tensorflow-serving-api",
    "tokenizers",
    "sentencepiece",
    "sentencex",
    "numpy",
    "protobuf",
    "grpcio",
    "starlette",
    "uvicorn",
    "click",
    "rich",
)
# Variables that change how TensorFlow and Keras work.
_PREFIXES = ("TF_", "KERAS_", "CUDA_", "XLA_", "TPU_", "OMP_", "TFDS_")


def report(variables: Mapping[str, str]) -> str:
    """Versions, machine, devices and settings, a line each.

    Args:
        variables: The environment variables before TensorFlow was imported, which adds to them.
    """
    lines = [
        f"tfpt {tfpt.__version__} ({Path(tfpt.__file__).parent})",
        f"Python {platform.python_version()} ({sys.executable})",
        f"{platform.platform()}, {_processor()}",
        f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} "
        f"cores, {_memory()}",
        "",
        *(f"{name} {_version(name)}" for name in _PACKAGES),
        "",
        *(f"{device.device_type} {device.name}" for device in tf.config.list_physical_devices()),
        "",
        *(f"{name}={value}" for name, value in sorted(variables.items()) if _matters(name)),
    ]
    return "\n".join(lines).rstrip()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "is not installed"


def _processor() -> str:
    """The processor's name and the instructions that decide how fast matrix products are."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    fields = dict(
        line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line
    )
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    flags = set(fields.get("flags", "").split())
    fast = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{fields.get('model name', platform.machine())} ({', '.join(fast) or 'no AVX2'})"


def _memory() -> str:
    try:
        return (
            f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB of memory"
        )
    except (ValueError, OSError):
        return "memory unknown"


def _matters(name: str) -> bool:
    """Whether a variable belongs into the report: those that may hold a secret do not."""
    return name.startswith(_PREFIXES) and not re.search("KEY|TOKEN|SECRET|PASSWORD", name)
