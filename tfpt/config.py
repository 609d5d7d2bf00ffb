"""Frozen dataclasses in and out of JSON, changed by overrides such as `model.num_layers=4`."""

import dataclasses
import difflib
import json
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tfpt import field_values

T = TypeVar("T")


STRATEGIES = ("auto", "one", "mirrored", "multi_worker", "tpu")
# Of others' checkpoints, as `weights.write` writes them.
WEIGHT_FORMATS = ("hugging-face", "google", "keras-hub")
# What is made of the states of a text; see `extraction.extract`.
POOLINGS = ("mean", "first", "pooled", "tokens")
# Of the tokens' states, to one of a text; see `models.embedder`.
EMBEDDINGS = ("mean", "first")
PRODUCT_DTYPES = ("float32", "bfloat16", "float16")
OPTIMIZERS = ("adamw", "lamb", "adafactor", "lion", "muon")
# Of parameter-efficient fine-tuning; see the room `peft`.
ADAPTATIONS = (
    "none",
    *("lora", "adalora", "ia3", "bitfit"),
    *("adapters", "prefix_tuning", "prompt_tuning"),
)
# The linear maps of a layer of an encoder, in the order of their columns where they are one.
ROLES = ("query", "key", "value", "attention_output", "intermediate", "output")
SCHEDULES = ("linear", "cosine", "inverse_sqrt", "warmup_stable_decay")


@dataclass(frozen=True, kw_only=True)
class Step:
    """How an optimizer step is taken; the same step on any number of devices."""

    optimizer: str = "adamw"  # see optimization.optimizer
    schedule: str = "linear"  # of the learning rate after the warm-up; see schedules.schedule
    epsilon: float = 1e-6  # of adamw, lamb and muon; see optimization.optimizer
    cooldown_rate: float = 0.2  # share of the steps in which warmup_stable_decay falls, in (0, 1]
    accumulation_steps: int = 1  # parts a batch is gone through in, one after the other
    cpu_shards: int = 1  # parts of a batch that a CPU computes side by side, one on each core
    steps_per_execution: int = 1  # steps in one call; Keras' callbacks see the last of them
    jit_compile: bool | None = None  # whether XLA compiles the step; none: on a GPU; a TPU always
    ema_momentum: float = 0.0  # of the average of the weights, in [0, 1); 0 keeps none
    # A step is skipped, and recorded, whose gradient's norm is more than this many times the
    # running mean of the norm, in which it counts as so many times the mean; 0 skips none.
    max_spike: float = 0.0

    def __post_init__(self) -> None:
        check_choice(self, "optimizer", OPTIMIZERS)
        check_choice(self, "schedule", SCHEDULES)
        check(self, "epsilon", self.epsilon > 0, "a positive number")
        check(self, "cooldown_rate", 0 < self.cooldown_rate <= 1, "a share in (0, 1]")
        for name in ("accumulation_steps", "cpu_shards", "steps_per_execution"):
            check(self, name, getattr(self, name) > 0, "a positive number")
        check(self, "ema_momentum", 0 <= self.ema_momentum < 1, "a share in [0, 1)")
        holds = self.max_spike == 0 or self.max_spike > 1
        check(self, "max_spike", holds, "0, or more than 1")


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a model is pre-trained."""

    batch_size: int = 32  # rows in a step, over all devices
    total_steps: int = 10_000  # optimizer steps
    learning_rate: float = 1e-4  # the peak, reached after the warm-up
    warmup_steps: int = 1_000  # steps of linear rise from 0; after them, the fall of step.schedule
    weight_decay: float = 0.01  # of the optimizer, none on norms and biases
    clip_norm: float = 1.0  # largest global norm of the gradient; 0 is no limit
    steps_per_epoch: int = 1_000  # steps between two validations, each with a checkpoint
    validation_steps: int = 50  # batches in a validation
    # Of training: it ends after them, at whatever step, and the learning rate falls with the share
    # of them that has gone by. `total_steps` then ends nothing: `warmup_steps` as a share of it is
    # the share of the time at which the fall begins. See schedules.schedule and clock.KeepTime.
    hours: float | None = None
    product_dtype: str = "float32"  # of matrix products; "bfloat16" is faster, weights stay float32
    rematerialize: bool = False  # compute states of the layers again instead of keeping them
    strategy: str = "auto"  # see distribution.strategy
    num_kept: int = 2  # newest checkpoints that are kept
    log_steps: int = 100  # steps between two points in TensorBoard; 0 writes those of epochs alone
    profile_steps: tuple[int, ...] = ()  # the first and the last step of a profile
    # 10**12 operations a second of all devices together, that the utilization is a share of; none
    # measures a product of matrices.
    peak_teraflops: float | None = None
    step: Step = field(default_factory=Step)

    def __post_init__(self) -> None:
        for name in ("batch_size", "total_steps", "steps_per_epoch", "validation_steps"):
            check(self, name, getattr(self, name) > 0, "a positive number")
        for name in ("warmup_steps", "weight_decay", "clip_norm"):
            check(self, name, getattr(self, name) >= 0, "zero or a positive number")
        for name in ("learning_rate", "num_kept"):
            check(self, name, getattr(self, name) > 0, "a positive number")
        check(self, "log_steps", self.log_steps >= 0, "zero or a positive number")
        for name in ("hours", "peak_teraflops"):
            _check_if_given(self, name, getattr(self, name))
        steps = self.profile_steps
        holds = not steps or (len(steps) == 2 and 0 < steps[0] <= steps[1])
        check(self, "profile_steps", holds, "two steps, the first and the last")
        for name in ("total_steps", "steps_per_epoch"):
            _check_executions(self, name, getattr(self, name), self.step)
        _check_parts(self, self.batch_size, self.step)
        holds = self.warmup_steps <= self.total_steps
        check(self, "warmup_steps", holds, f"at most total_steps={self.total_steps}")
        check_choice(self, "product_dtype", PRODUCT_DTYPES)
        check_choice(self, "strategy", STRATEGIES)


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Which layers of an encoder fine-tuning trains, and how fast; heads are always trained."""

    # The last so many layers, and not the embeddings; 0: none of the encoder; none: all of it.
    trained_layers: int | None = None
    # The learning rate of a layer over that of the layer above it, in (0, 1]; the heads have all of
    # it, the embeddings are one layer below the first.
    layer_decay: float = 1.0
    # Epochs after which one layer more is trained, from the last one down; 0: all from the start.
    unfreezing_epochs: float = 0.0

    def __post_init__(self) -> None:
        holds = self.trained_layers is None or self.trained_layers >= 0
        check(self, "trained_layers", holds, "a number of layers, or none for all")
        check(self, "layer_decay", 0 < self.layer_decay <= 1, "a share in (0, 1]")
        check(self, "unfreezing_epochs", self.unfreezing_epochs >= 0, "zero or a positive number")
        holds = self.trained_layers != 0 or (self.layer_decay == 1 and not self.unfreezing_epochs)
        check(self, "trained_layers", holds, "more than 0 with layer_decay or unfreezing_epochs")


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """What is trained in the place of an encoder's weights; see the room `peft`."""

    method: str = "none"  # "none" trains the weights themselves
    rank: int = 8  # of lora, and of adalora at first
    alpha: float = 16.0  # of both: alpha / rank scales what they add
    dropout_rate: float = 0.0  # of both: share of what they are given that is dropped in training
    # Of both: the linear maps that are adapted, of `ROLES`.
    roles: tuple[str, ...] = ("query", "value")
    target_rank: int = 4  # of adalora: the mean rank at the end
    orthogonality: float = 0.1  # of adalora: the factor of its regularizer, a mean over matrices
    budget_steps: int = 10  # of adalora: between two looks at the ranks
    budget_warmup_rate: float = 0.1  # of adalora: the share of the steps before the ranks fall
    budget_final_rate: float = 0.3  # of adalora: the share of the steps after they have fallen
    width: int = 64  # of adapters: of their middle
    num_tokens: int = 20  # of prefix_tuning, in each layer, and of prompt_tuning
    train_pooler: bool = True  # whether the pooler is trained as heads are

    def __post_init__(self) -> None:
        check_choice(self, "method", ADAPTATIONS)
        for name in ("rank", "alpha", "width", "num_tokens", "budget_steps"):
            check(self, name, getattr(self, name) > 0, "a positive number")
        check(self, "dropout_rate", 0 <= self.dropout_rate < 1, "a share in [0, 1)")
        holds = bool(self.roles) and set(self.roles) <= set(ROLES)
        check(self, "roles", holds, f"some of {', '.join(ROLES)}")
        holds = 0 < self.target_rank <= self.rank or self.method != "adalora"
        check(self, "target_rank", holds, f"from 1 to rank={self.rank}")
        check(self, "orthogonality", self.orthogonality >= 0, "zero or a positive number")
        rates = self.budget_warmup_rate, self.budget_final_rate
        holds = min(rates) >= 0 and sum(rates) < 1
        check(self, "budget_final_rate", holds, "a share that leaves steps for the ranks to fall")


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How a model is fine-tuned."""

    batch_size: int = 32  # rows in a step, over all devices
    epochs: int = 3  # times the training rows are gone through
    learning_rate: float = 5e-5  # the peak, reached after the warm-up
    warmup_rate: float = 0.1  # share of the steps with linear rise from 0, in [0, 1]
    weight_decay: float = 0.01  # of the optimizer, none on norms and biases
    clip_norm: float = 1.0  # largest global norm of the gradient; 0 is no limit
    patience: int | None = None  # epochs without a better validation after which training stops
    product_dtype: str = "float32"  # of matrix products; "bfloat16" is faster, weights stay float32
    rematerialize: bool = False  # compute states of the layers again instead of keeping them
    strategy: str = "auto"  # see distribution.strategy
    transfer: Transfer = field(default_factory=Transfer)  # what of the encoder is trained
    adaptation: Adaptation = field(default_factory=Adaptation)  # or what in its place
    num_kept: int = 2  # newest checkpoints that are kept
    log_steps: int = 10  # steps between two points in TensorBoard; 0 writes those of epochs alone
    # 10**12 operations a second of all devices together, that the utilization is a share of; none
    # measures a product of matrices.
    peak_teraflops: float | None = None
    step: Step = field(default_factory=lambda: Step(epsilon=1e-8))

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs", "learning_rate", "num_kept"):
            check(self, name, getattr(self, name) > 0, "a positive number")
        for name in ("weight_decay", "clip_norm", "log_steps"):
            check(self, name, getattr(self, name) >= 0, "zero or a positive number")
        _check_parts(self, self.batch_size, self.step)
        check(self, "warmup_rate", 0 <= self.warmup_rate <= 1, "a share in [0, 1]")
        holds = self.adaptation.method == "none" or self.transfer == Transfer()
        check(self, "transfer", holds, "as it is by default where there is an adaptation.method")
        for name in ("patience", "peak_teraflops"):
            _check_if_given(self, name, getattr(self, name))
        check_choice(self, "product_dtype", PRODUCT_DTYPES)
        check_choice(self, "strategy", STRATEGIES)


def _check_if_given(instance: Any, name: str, value: float | None) -> None:
    check(instance, name, value is None or value > 0, "a positive number, or none")


def _check_executions(instance: Any, name: str, steps: int, step: Step) -> None:
    count = step.steps_per_execution
    check(instance, name, steps % count == 0, f"a multiple of step.steps_per_execution={count}")


def _check_parts(instance: Any, batch_size: int, step: Step) -> None:
    count = step.accumulation_steps * step.cpu_shards
    expected = f"a multiple of step.accumulation_steps * step.cpu_shards = {count}"
    check(instance, "batch_size", batch_size % count == 0, expected)


def check_choice(instance: Any, field: str, choices: Sequence[str]) -> None:
    """Raise a ValueError where a field is none of the choices."""
    check(instance, field, getattr(instance, field) in choices, f"one of {', '.join(choices)}")


class FieldError(ValueError):
    """A field has a value that it must not have.

    Args:
        field: Its name.
        owner: Of which dataclass.
        told: What it must be, and what it is.
        prefix: Where the dataclass is in another one, such as "training."; None: nobody knows.
    """

    def __init__(self, field: str, owner: str, told: str, prefix: str | None = None):
        self.field, self.owner, self.told = field, owner, told
        name = f"`{field}` of {owner}" if prefix is None else f"`{prefix}{field}`"
        super().__init__(f"{name} {told}")


def check(instance: Any, field: str, holds: bool, expected: str) -> None:
    """Raise a FieldError that names the field, what it must be and what it is."""
    if not holds:
        told = f"must be {expected}; received {field}={getattr(instance, field)!r}."
        raise FieldError(field, type(instance).__name__, told)


def to_dict(config: Any) -> dict[str, Any]:
    """The dataclass as nested dicts of plain values, ready for JSON."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(template: T, values: dict[str, Any]) -> T:
    """A dataclass like `template` with the fields that `values` names replaced.

    Args:
        template: A dataclass, possibly with dataclasses inside; gives the types.
        values: Nested dicts as `to_dict` returns them; missing fields keep the template's value.

    Raises:
        ValueError: A field is unknown, or its value has the wrong type or range.
    """
    if not isinstance(values, dict):
        raise ValueError(f"A configuration is a JSON object; received {values!r:.60}.")
    return _replace(template, values, prefix="")


def override(template: T, assignments: Sequence[str]) -> T:
    """Apply dotted assignments such as `model.num_layers=4`, parsed by the type of the field.

    All assignments are applied before ranges are checked, so that fields that depend on each other
    can be changed together.

    Raises:
        ValueError: No `=`, an unknown field (the nearest name is offered), a value of the wrong
            type or out of range.
    """
    nested: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ValueError(f"Write an override as name=value; received {assignment!r}.")
        kind = _type_of(template, name)
        level = nested
        *parents, leaf = name.split(".")
        for parent in parents:
            level = level.setdefault(parent, {})
        level[leaf] = field_values.parse(text.strip(), kind, name)
    return _replace(template, nested, prefix="")


def changed_fields(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The fields in which two configurations, as `to_dict` gives them, differ, with both values."""
    old, new = dict(flatten(before)), dict(flatten(after))
    return {
        name: (old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    }


def flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested dicts as (dotted name, value) pairs."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _field_types(template: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(type(template))
    return {field.name: hints[field.name] for field in dataclasses.fields(template)}


def _type_of(template: Any, name: str) -> Any:
    """The type of the field with a dotted name; for an unknown one, an error with the nearest."""
    level = template
    parts = name.split(".")
    for i, part in enumerate(parts):
        kinds = _field_types(level) if dataclasses.is_dataclass(level) else {}
        if part not in kinds:
            _raise_unknown(template, name)
        if i + 1 == len(parts):
            if dataclasses.is_dataclass(getattr(level, part)):
                inner = ", ".join(f"{name}.{field}" for field in _field_types(getattr(level, part)))
                raise ValueError(f"`{name}` is a group of fields; set one of {inner}.")
            return kinds[part]
        level = getattr(level, part)
    raise AssertionError("unreachable")


def _raise_unknown(template: Any, name: str) -> typing.NoReturn:
    known = [dotted for dotted, _ in flatten(to_dict(template))]
    leaf = name.rpartition(".")[2]
    near = difflib.get_close_matches(name, known, n=1) or [
        dotted
        for dotted in known
        if difflib.get_close_matches(leaf, [dotted.rpartition(".")[2]], n=1)
    ]
    hint = f"Did you mean `{near[0]}`?" if near else f"The fields are {', '.join(known)}."
    raise ValueError(f"There is no field `{name}`. {hint}")


def _replace(template: Any, values: dict[str, Any], prefix: str) -> Any:
    kinds = _field_types(template)
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, n=1)
            hint = f" Did you mean `{prefix}{near[0]}`?" if near else ""
            raise ValueError(f"There is no field `{prefix}{name}`.{hint}")
        inner = getattr(template, name)
        if dataclasses.is_dataclass(inner):
            if not isinstance(value, dict):
                raise ValueError(f"`{prefix}{name}` is a group of fields; received {value!r}.")
            changes[name] = _replace(inner, value, prefix=f"{prefix}{name}.")
        else:
            changes[name] = field_values.convert(value, kinds[name], prefix + name)
    owner = type(template).__name__
    try:
        return dataclasses.replace(template, **changes)
    except FieldError as error:
        # One of a dataclass inside, which the outer one checked, has another place.
        if error.owner != owner:
            raise
        raise FieldError(error.field, owner, error.told, prefix) from None
