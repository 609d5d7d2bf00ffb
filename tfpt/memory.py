"""Memory of models that are not used any more."""

import keras
import tensorflow as tf


def free(model: keras.Model) -> None:
    """Give back the memory of a model's variables and its optimizer's; it cannot be used any more.

    To forget a model is not enough: TensorFlow keeps the functions of every custom gradient until
    the process ends, and with them the graph they were traced in and the variables it reads. Keras'
    optimizers have one too. A process that trains several models would hold all of them: 12 bytes a
    parameter with Adam, each time. A variable without elements holds nothing. On a TPU nothing
    happens: its variables are not in the memory of the host.
    """
    if isinstance(model.distribute_strategy, tf.distribute.TPUStrategy):
        return
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *(optimizer.variables if optimizer is not None else ())]
    values = [variable.value for variable in variables]
    values += getattr(model, "averages", {}).values()
    for value in values:
        for one in getattr(value, "values", (value,)):  # of a mirrored one
            tf.raw_ops.AssignVariableOp(
                resource=one.handle, value=tf.zeros([0], one.dtype), validate_shape=False
            )
