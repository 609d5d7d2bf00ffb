"""Which devices a model is trained on."""

import ctypes
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfpt.config import STRATEGIES


def strategy(name: str = "auto") -> tf.distribute.Strategy:
    """A `tf.distribute` strategy by name; build and compile a model inside its `scope()`.

    Args:
        name: "auto": the TPU if there is one, else all GPUs, else the CPU. "one": one GPU, or the
            CPU. "mirrored": all GPUs, or all logical CPU devices. "multi_worker": the workers that
            the variable TF_CONFIG names. "tpu": the TPU that TPU_NAME names, or a local one.

    Raises:
        ValueError: An unknown name; no TPU to be found; no TF_CONFIG.
    """
    if name not in STRATEGIES:
        raise ValueError(f"`strategy` must be one of {', '.join(STRATEGIES)}; received {name!r}.")
    if name == "multi_worker":
        if not os.environ.get("TF_CONFIG"):
            raise ValueError(
                "strategy 'multi_worker' reads the cluster from the variable TF_CONFIG, which is "
                "not set; see https://www.tensorflow.org/guide/distributed_training."
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "tpu" or (name == "auto" and _names_tpu()):
        return _tpu()
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    # TensorFlow's own default: the first GPU, or the CPU.
    return tf.distribute.get_strategy()


def distribute(
    strategy: tf.distribute.Strategy, batches: Callable[[int], tf.data.Dataset], first_batch: int
) -> Any:
    """The batches from `first_batch` on, each divided among the replicas of a strategy.

    Args:
        strategy: The one the model was built under.
        batches: Gives the stream of global batches from a batch number on.
        first_batch: The number of the first batch.

    Returns:
        What Keras `fit` takes.

    Raises:
        ValueError: The rows of a batch cannot be divided evenly.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return batches(first_batch)

    def shares(context: tf.distribute.InputContext):
        local = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * local

        def divide(*batch):
            return tf.nest.map_structure(
                lambda rows: tf.reshape(
                    rows, [replicas, rows.shape[0] // replicas, *rows.shape[1:]]
                )[first : first + local],
                batch,
            )

        # Built per pipeline: to shard a finished dataset, tf.data would copy a mapped token store.
        dataset = batches(first_batch)
        for spec in tf.nest.flatten(dataset.element_spec):
            rows_per_device(strategy, spec.shape[0])
        options = dataset.options()
        return dataset.map(divide, num_parallel_calls=2).unbatch().with_options(options)

    return strategy.distribute_datasets_from_function(shares)


def rows_per_device(strategy: tf.distribute.Strategy, batch_size: int | None) -> int:
    """Each device's share of a batch.

    Raises:
        ValueError: The batch cannot be divided evenly, or its size is not known beforehand (None).
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size is None or batch_size % replicas:
        size = "unknown many" if batch_size is None else batch_size
        raise ValueError(
            f"A batch of {size} rows cannot be divided evenly among {replicas} devices; choose a "
            f"batch size that is a multiple of {replicas}, the same for every batch."
        )
    return batch_size // replicas


def threads(cpu_shards: int) -> None:
    """Let the parts of a batch that `config.Step` calls `cpu_shards` each have a core of its own.

    Operations then run on one thread each, `cpu_shards` of them side by side: many are too small
    to divide among cores. TensorFlow reads it when it
    starts; `training.pretrain` and `training.finetune` call it first.
    """
    if cpu_shards == 1:
        return
    wanted = (1, cpu_shards)
    threading = tf.config.threading
    try:
        threading.set_intra_op_parallelism_threads(wanted[0])
        threading.set_inter_op_parallelism_threads(wanted[1])
    except RuntimeError:  # TensorFlow has started
        there = (
            threading.get_intra_op_parallelism_threads(),
            threading.get_inter_op_parallelism_threads(),
        )
        if there != wanted:
            warnings.warn(
                f"TensorFlow has started with other threads, so cpu_shards={cpu_shards} may make "
                "nothing faster. Call `distribution.threads` before anything of TensorFlow, or set "
                f"TF_NUM_INTRAOP_THREADS=1 and TF_NUM_INTEROP_THREADS={cpu_shards}.",
                stacklevel=2,
            )


def keep_memory() -> None:
    """Let the process keep the memory that it frees, for the next step to use.

    The C library of Linux gives large blocks back as soon as they are freed, and a step asks for
    the same ones again, whose pages the kernel fills with zeros first. What a step of a CPU does
    besides matrix products took 757 ms without that, and 896 with it (6 layers of 384, one thread).
    Memory that was needed once then stays with the process. Elsewhere nothing happens;
    `training.pretrain` and `training.finetune` call it first.

    Source: mallopt(3), M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_MMAP_THRESHOLD, 2**30)


# Of malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def release(model: Any) -> None:
    """Free the memory of the weights of a model, and of its optimizer, that nobody needs any more.

    A process that trains several times would hold those of all: what `tf.custom_gradient` captures
    in a graph is in a registry of TensorFlow until the process ends, so variables outlive their
    model. Each is left with no element.

    Args:
        model: Of Keras, compiled or not; it cannot be used any more. Or None. On a TPU nothing is
            freed.
    """
    if model is None or isinstance(model.distribute_strategy, tf.distribute.TPUStrategy):
        return
    optimizer = getattr(model, "optimizer", None)
    variables = (*model.variables, *(optimizer.variables if optimizer is not None else ()))
    values = [one.value for one in variables]
    for value in (*values, *getattr(model, "averages", {}).values()):
        if not value.dtype.is_floating:
            continue  # a counter, or a seed
        for local in model.distribute_strategy.experimental_local_results(value):
            # `assign` would not change the shape.
            tf.raw_ops.AssignVariableOp(
                resource=local.handle, value=tf.zeros([0], local.dtype), validate_shape=False
            )


def compiles(strategy: tf.distribute.Strategy, wanted: bool | None) -> bool:
    """Whether the step is to be compiled by XLA; `wanted` None leaves it to the devices."""
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return False  # `strategy.run` does
    return bool(tf.config.list_logical_devices("GPU")) if wanted is None else wanted


def has_accelerator() -> bool:
    """Whether the model is trained on a GPU or a TPU."""
    return bool(tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))


def num_replicas() -> int:
    """The replicas that run together; inside of one of them, or of none."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def summed(values: Any) -> Any:
    """Tensors, in any structure, summed up over the replicas; called by each of them.

    One exchange for all of them, where the devices have one for several tensors.
    """
    if num_replicas() == 1:
        return values
    flat = tf.nest.flatten(values)
    context = tf.distribute.get_replica_context()
    return tf.nest.pack_sequence_as(values, context.all_reduce("SUM", flat))


def gathered(rows: Any) -> Any:
    """The rows of all replicas, (R * B, ...) of (B, ...), in their order; called by each of them.

    Gradients go back to the replica that a row came from, from all of them. As a sum of rows that
    stand at their place among zeros: unlike a gathering, devices of all kinds have that, and its
    gradient.
    """
    count = num_replicas()
    if count == 1:
        return rows
    rows = tf.convert_to_tensor(rows)
    is_here = tf.one_hot(replica_number(), count, dtype=rows.dtype)  # (R,)
    placed = tf.reshape(is_here, [count, *[1] * rows.shape.rank]) * rows[None]
    return tf.reshape(summed(placed), [-1, *rows.shape[1:]])


def replica_number() -> Any:
    """int32 (): that of this replica, from 0; called by each of them."""
    if num_replicas() == 1:
        return tf.constant(0)
    return tf.convert_to_tensor(tf.distribute.get_replica_context().replica_id_in_sync_group)


def apply_where(holds: Any, update: Callable[[list[Any]], None], values: list[Any]) -> None:
    """Call `update(values)` on every replica if `holds`; called by each of them.

    Args:
        holds: bool (), the same on all replicas.
        update: Changes variables; may merge the replicas, as Keras' optimizers do.
        values: Tensors.
    """

    def either(holds, call):
        tf.cond(holds, lambda: (call(), True)[1], lambda: False)

    context = tf.distribute.get_replica_context()
    strategy_ = context.strategy
    if num_replicas() == 1 or isinstance(strategy_, tf.distribute.TPUStrategy):
        either(holds, lambda: update(values))
        return

    # Replicas cannot be merged inside of a condition, but be gone into from one.
    def merged(strategy_, holds, values):
        first = strategy_.experimental_local_results(holds)[0]
        either(first, lambda: strategy_.extended.call_for_each_replica(update, args=(values,)))

    context.merge_call(merged, args=(holds, values))


def describe(strategy: tf.distribute.Strategy, batch_size: int) -> str:
    """One line for the console: the strategy, its devices and each device's share of a batch."""
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return f"One device, batches of {batch_size} rows"
    kind = type(strategy).__name__.removesuffix("V2").removesuffix("Strategy")
    rows = rows_per_device(strategy, batch_size)
    return f"{kind}, {replicas} devices, {rows} of {batch_size} rows each"


def _names_tpu() -> bool:
    return bool(os.environ.get("TPU_NAME")) or bool(tf.config.list_physical_devices("TPU"))


def _tpu() -> tf.distribute.Strategy:
    address = os.environ.get("TPU_NAME", "local" if tf.config.list_physical_devices("TPU") else "")
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=address)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, OSError, tf.errors.OpError) as error:
        raise ValueError(
            f"No TPU answers under TPU_NAME={address!r} ({str(error).splitlines()[0]}). On a TPU "
            "VM set TPU_NAME=local, elsewhere its name; TensorFlow's TPU build ends at 2.20."
        ) from error
    return tf.distribute.TPUStrategy(resolver)
