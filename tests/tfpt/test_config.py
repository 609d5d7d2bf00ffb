"""Configurations: in and out of JSON, dotted overrides, and what is refused."""

import json
from dataclasses import FrozenInstanceError, dataclass, field

import pytest

from tfpt.config import (
    FineTuning,
    Step,
    Training,
    changed_fields,
    check,
    check_choice,
    flatten,
    from_dict,
    override,
    to_dict,
)


@dataclass(frozen=True, kw_only=True)
class Size:
    num_layers: int = 2
    num_heads: int = 4
    hidden_dim: int = 8

    def __post_init__(self) -> None:
        holds = self.hidden_dim % self.num_heads == 0
        check(self, "num_heads", holds, f"a divisor of hidden_dim={self.hidden_dim}")


@dataclass(frozen=True, kw_only=True)
class Config:
    model: Size = field(default_factory=Size)
    name: str = "here"
    rate: float = 0.5
    columns: tuple[str, ...] = ("text",)
    sizes: tuple[int, ...] = ()
    shuffle: bool = True
    patience: int | None = None


def test_json_gives_the_same_configuration_back():
    config = Config(model=Size(num_layers=7), columns=("a", "b"), sizes=(1, 2), patience=3)
    assert from_dict(Config(), json.loads(json.dumps(to_dict(config)))) == config
    assert to_dict(config)["model"] == {"num_layers": 7, "num_heads": 4, "hidden_dim": 8}


def test_fields_that_are_missing_keep_the_value_of_the_template():
    template = Config(model=Size(num_layers=7), name="there")
    assert from_dict(template, {"model": {"num_heads": 2}}).model == Size(num_layers=7, num_heads=2)
    assert from_dict(template, {}) == template


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("model.num_layers=12", ("model", "num_layers"), 12),
        ("model.hidden_dim=1_024", ("model", "hidden_dim"), 1024),
        (" rate = 1e-3 ", ("rate",), 1e-3),
        ("rate=2", ("rate",), 2.0),
        ("name=a=b", ("name",), "a=b"),
        ("name=", ("name",), ""),
        ("name=none", ("name",), "none"),
        ("columns=#1 String, #2 String", ("columns",), ("#1 String", "#2 String")),
        ("sizes=3,4", ("sizes",), (3, 4)),
        ("sizes=", ("sizes",), ()),
        ("shuffle=False", ("shuffle",), False),
        ("shuffle=true", ("shuffle",), True),
        ("patience=5", ("patience",), 5),
        ("patience=none", ("patience",), None),
    ],
)
def test_an_override_is_read_by_the_type_of_its_field(assignment, path, value):
    changed = override(Config(patience=1), [assignment])
    for name in path:
        changed = getattr(changed, name)
    assert changed == value
    assert type(changed) is type(value)


def test_fields_that_depend_on_each_other_change_together():
    changed = override(Config(), ["model.num_heads=5", "model.hidden_dim=10"])
    assert changed.model == Size(num_heads=5, hidden_dim=10)


def test_the_last_of_two_overrides_of_a_field_holds_and_the_template_stays():
    template = Config()
    assert override(template, ["rate=0.1", "rate=0.2"]).rate == 0.2
    assert template == Config()
    with pytest.raises(FrozenInstanceError):
        template.rate = 0.1


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("model.numlayers=4", "no field `model.numlayers`. Did you mean `model.num_layers`"),
        ("num_layers=4", "no field `num_layers`. Did you mean `model.num_layers`"),
        ("name.length=4", "no field `name.length`"),
        ("zzz=4", "no field `zzz`. The fields are model.num_layers, "),
        ("model=4", "`model` is a group of fields; set one of model.num_layers, "),
        ("rate", "Write an override as name=value; received 'rate'"),
        ("=4", "Write an override as name=value; received '=4'"),
        ("model.num_layers=4.5", "`model.num_layers` takes a whole number; received '4.5'"),
        ("rate=fast", "`rate` takes a number; received 'fast'"),
        ("rate=nan", "`rate` takes a number; received 'nan'"),
        ("rate=inf", "`rate` takes a number; received 'inf'"),
        ("shuffle=1", "`shuffle` takes true or false; received '1'"),
        ("patience=x", "`patience` takes a whole number or none; received 'x'"),
        ("sizes=3,x", "`sizes` takes a whole number; received 'x'"),
        ("model.num_heads=3", "`model.num_heads` must be a divisor of hidden_dim=8; .*=3"),
    ],
)
def test_a_wrong_override_is_refused_with_its_field(assignment, message):
    with pytest.raises(ValueError, match=message):
        override(Config(), [assignment])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"model": {"num_layer": 4}},
            "no field `model.num_layer`. Did you mean `model.num_layers`",
        ),
        ({"model": 4}, "`model` is a group of fields; received 4"),
        ({"name": 4}, "`name` takes text; received 4"),
        ({"rate": True}, "`rate` takes a number; received True"),
        ({"rate": float("inf")}, "`rate` takes a number; received inf"),
        ({"shuffle": 1}, "`shuffle` takes true or false; received 1"),
        ({"model": {"num_layers": 4.0}}, "`model.num_layers` takes a whole number; received 4.0"),
        ({"columns": "text"}, "`columns` takes text, or several separated by commas; .* 'text'"),
        ({"columns": [1]}, "`columns` takes text; received 1"),
        ([1], r"A configuration is a JSON object; received \[1\]"),
    ],
)
def test_wrong_values_of_a_file_are_refused_with_their_field(values, message):
    with pytest.raises(ValueError, match=message):
        from_dict(Config(), values)


def test_changed_fields_are_told_with_both_values():
    before, after = to_dict(Config()), to_dict(override(Config(), ["model.num_layers=3", "rate=1"]))
    assert changed_fields(before, after) == {"model.num_layers": (2, 3), "rate": (0.5, 1.0)}
    assert changed_fields(before, before) == {}
    del after["name"]
    assert changed_fields(before, after)["name"] == ("here", None)


def test_flatten_gives_dotted_names_in_order():
    assert list(flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": None})) == [
        ("a.b", 1),
        ("a.c.d", [2]),
        ("e", None),
    ]


@pytest.mark.parametrize("config", [Training(), FineTuning()])
def test_the_configurations_of_training_survive_json(config):
    assert from_dict(config, to_dict(config)) == config


def test_fine_tuning_adds_a_smaller_epsilon_than_pre_training():
    assert (Training().step.epsilon, FineTuning().step.epsilon) == (1e-6, 1e-8)
    changed = override(FineTuning(), ["step.accumulation_steps=2"])
    assert changed.step.epsilon == 1e-8


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Training, {"batch_size": 0}, "`batch_size` of Training must be a positive number"),
        (Training, {"learning_rate": 0.0}, "`learning_rate` of Training .* learning_rate=0.0"),
        (Training, {"learning_rate": float("nan")}, "`learning_rate` of Training .*=nan"),
        (Training, {"clip_norm": -1.0}, "`clip_norm` of Training must be zero or a positive"),
        (
            Training,
            {"warmup_steps": 11, "total_steps": 10},
            "at most total_steps=10; received .*11",
        ),
        (Step, {"epsilon": 0.0}, "`epsilon` of Step must be a positive number"),
        (Training, {"peak_teraflops": 0.0}, "`peak_teraflops` of Training must be a positive"),
        (FineTuning, {"peak_teraflops": -1.0}, "`peak_teraflops` of FineTuning must be a pos"),
        (Training, {"strategy": "tpus"}, "`strategy` of Training must be one of auto, .*'tpus'"),
        (FineTuning, {"epochs": 0}, "`epochs` of FineTuning must be a positive number"),
        (FineTuning, {"warmup_rate": 1.5}, r"`warmup_rate` of FineTuning must be a share in \[0"),
        (
            FineTuning,
            {"patience": 0},
            "`patience` of FineTuning must be a positive number, or none",
        ),
    ],
)
def test_a_value_out_of_range_is_refused(kind, values, message):
    with pytest.raises(ValueError, match=message):
        kind(**values)


def test_check_choice_names_the_choices():
    with pytest.raises(ValueError, match=r"`name` of Config must be one of there; .*name='here'"):
        check_choice(Config(), "name", ("there",))
