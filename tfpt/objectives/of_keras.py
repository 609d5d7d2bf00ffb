"""What the step of the model asks of an optimizer of Keras."""

import keras


def check_optimizer(optimizer: keras.optimizers.Optimizer) -> None:
    """Refuse what the step does itself, and what Keras does wrongly on several devices."""
    wrong = [
        name
        for name in ("clipnorm", "global_clipnorm", "clipvalue", "gradient_accumulation_steps")
        if getattr(optimizer, name, None)
    ]
    wrong += ["use_ema"] if getattr(optimizer, "use_ema", False) else []
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        wrong.append("LossScaleOptimizer")
    if wrong:
        raise ValueError(
            f"The optimizer has {', '.join(wrong)}; the model's own step clips, accumulates, "
            "averages and scales, rightly on any number of devices. Give these numbers to "
            "`training.compile(model, ..., clip_norm=, step=config.Step(...))`."
        )


def take_summed_gradients(optimizer: keras.optimizers.Optimizer) -> None:
    """Let `apply` take gradients that are summed up over replicas already.

    Keras would sum them up once more, at the cost of a second exchange between the devices. It has
    no public way to say so; tests/tfpt/test_distribution.py counts the exchanges.
    """
    optimizer._all_reduce_sum_gradients = list
