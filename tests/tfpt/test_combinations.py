"""The combinations of a sweep: their settings, the names of their folders, what is refused."""

import pytest

from tfpt import combinations, config
from tfpt.recipes import classify

RATES = "training.learning_rate=1e-5,0.00003"


def planned(*sweeps, assignments=(), num_seeds=None):
    return combinations.plan(classify.config(), assignments, sweeps, num_seeds)


def test_every_value_meets_every_other_and_the_names_say_which():
    plan = planned(RATES, "training.batch_size=8,16", assignments=["seed=4"], num_seeds=3)
    assert (plan.seeds, plan.num_runs) == ([4, 5, 6], 12)
    assert plan.fields == {"training.learning_rate": [1e-5, 3e-5], "training.batch_size": [8, 16]}
    found = [
        (c.settings.training.learning_rate, c.settings.training.batch_size)
        for c in plan.combinations
    ]
    assert found == [(1e-5, 8), (1e-5, 16), (3e-5, 8), (3e-5, 16)]
    assert plan.combinations[2].name == "training.batch_size=8,training.learning_rate=3e-05"
    assert plan.combinations[2].with_seed(6).seed == 6
    # What is not swept is as it was set.
    assert config.to_dict(plan.combinations[0].settings)["seed"] == 4


def test_the_name_of_a_combination_depends_on_nothing_but_its_values():
    once = {one.name for one in planned(RATES, "training.epochs=2,3").combinations}
    more = {one.name for one in planned("training.epochs=4,3,2", f"{RATES},1").combinations}
    assert len(once) == 4
    assert once < more


def test_seeds_can_be_swept_by_name_and_are_one_by_default():
    plan = planned("seed=3,8")
    assert (plan.seeds, plan.fields) == ([3, 8], {})
    assert [one.name for one in plan.combinations] == [""]
    assert planned(RATES, assignments=["seed=7"]).seeds == [7]


def test_semicolons_separate_values_that_have_commas():
    plan = planned("data.text=title;title,body")
    assert plan.fields == {"data.text": [["title"], ["title", "body"]]}
    assert [one.settings.data.text for one in plan.combinations] == [("title",), ("title", "body")]
    assert plan.combinations[1].name == "data.text=title+body"


def test_fields_that_depend_on_each_other_are_checked_together():
    sweep = "training.step.accumulation_steps=3,6"
    plan = planned(sweep, assignments=["training.batch_size=18"])
    assert [one.settings.training.step.accumulation_steps for one in plan.combinations] == [3, 6]
    # Without the sweep these are out of range: 32 rows are not divided into 3 parts.
    plan = planned("training.batch_size=9,18", assignments=["training.step.accumulation_steps=3"])
    assert plan.num_runs == 2
    with pytest.raises(ValueError, match=r"batch_size.*a multiple of"):
        planned(sweep, assignments=["training.batch_size=9"])


@pytest.mark.parametrize(
    "values", [("a/b", "a_b"), ("x" * 300, "x" * 301), ("\u05d0" * 120, "\u05d0" * 121)]
)
def test_any_text_makes_the_name_of_a_folder_of_its_own(values, tmp_path):
    plan = planned(f"data.name={','.join(values)}")
    names = {one.name for one in plan.combinations}
    assert len(names) == 2
    for name in names:
        (tmp_path / name).mkdir()
    assert {path.name for path in tmp_path.iterdir()} == names


def test_none_and_truth_are_written_as_they_are_set():
    plan = planned("training.patience=none,2", "data.balanced=true,false")
    assert plan.combinations[0].name == "data.balanced=true,training.patience=null"
    assert plan.fields["training.patience"] == [None, 2]


@pytest.mark.parametrize(
    ("sweeps", "assignments", "sentence"),
    [
        (["training.learning_rat=1,2"], [], "Did you mean `training.learning_rate`"),
        (["training=1,2"], [], "`training` is a group of fields"),
        (["training.epochs=1,two"], [], "`training.epochs` takes a whole number; received 'two'"),
        (
            ["training.epochs=1,-2"],
            [],
            "`epochs` of FineTuning must be a positive number; received epochs=-2",
        ),
        (["training.learning_rate=1e-5,0.00001"], [], "same value twice: '1e-5' and '0.00001'"),
        (["training.epochs=1"], [], "needs two values or more.*received '1'"),
        (["training.epochs"], [], "Write a sweep as field=value,value; received 'training.epochs'"),
        (["=1,2"], [], "Write a sweep as"),
        ([RATES, "training.learning_rate=1,2"], [], "is swept twice"),
        ([RATES], ["training.learning_rate = 1"], "is swept, but also set to 1; leave one"),
        (["seed=1,2"], ["seed=1"], "`seed` is swept, but also set to 1"),
    ],
)
def test_what_cannot_be_swept_is_one_sentence(sweeps, assignments, sentence):
    with pytest.raises(ValueError, match=sentence):
        planned(*sweeps, assignments=assignments)


def test_seeds_are_counted_or_named_but_not_both():
    with pytest.raises(ValueError, match="leave out --seeds, or the sweep of `seed`"):
        planned("seed=1,2", num_seeds=2)
