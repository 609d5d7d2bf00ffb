"""The courses of the learning rate against their formulas."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpt import config, schedules

FLOAT32 = 1e-6


def rates(name, steps, **changes):
    numbers = {"learning_rate": 2.0, "warmup_steps": 4, "total_steps": 12, **changes}
    course = schedules.schedule(name, **numbers)
    return [float(course(step)) for step in steps]


def test_the_linear_one_rises_over_the_warm_up_and_falls_to_zero():
    found = rates("linear", range(14))
    assert found[:4] == [0.5, 1.0, 1.5, 2.0]
    assert found[4:] == [2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


def test_cosine_falls_by_half_a_wave_to_zero():
    found = rates("cosine", range(14))
    waves = [1 + math.cos(math.pi * min(8, step) / 8) for step in range(10)]
    assert found == pytest.approx([0.5, 1.0, 1.5, 2.0, *waves], abs=FLOAT32)


def test_inverse_sqrt_meets_the_rise_at_the_peak_and_knows_no_end():
    found = rates("inverse_sqrt", [0, 1, 2, 3, 4, 15, 399])
    falling = [2 * math.sqrt(4 / 5), 1.0, 0.2]
    assert found == pytest.approx([0.5, 1.0, 1.5, 2.0, *falling], abs=FLOAT32)


def test_warmup_stable_decay_is_constant_until_its_last_share():
    found = rates("warmup_stable_decay", range(14), cooldown_rate=0.25)
    stable = [0.5, 1.0, 1.5, *7 * [2.0]]
    assert found == pytest.approx([*stable, 4 / 3, 2 / 3, 0, 0], abs=FLOAT32)
    # No constant part, and a cool-down that begins within the warm-up.
    whole = rates("warmup_stable_decay", range(12), cooldown_rate=1.0)
    assert whole == pytest.approx(
        [2 * min((step + 1) / 4, 1 - step / 12) for step in range(12)], abs=FLOAT32
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linear", [1, 0.75, 0.5, 0.25, 0]),
        ("cosine", [1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125), 0]),
        ("inverse_sqrt", [1, math.sqrt(1 / 2), math.sqrt(1 / 3), 0.5, math.sqrt(1 / 5)]),
        ("warmup_stable_decay", [1, 1, 1, 0.5, 0]),
    ],
)
def test_without_warm_up_they_begin_at_the_peak_and_of_warm_up_only_they_end_there(name, expected):
    found = rates(
        name, range(5), learning_rate=1.0, warmup_steps=0, total_steps=4, cooldown_rate=0.5
    )
    assert found == pytest.approx(expected, abs=FLOAT32)
    if name != "warmup_stable_decay":  # whose cool-down is a part of any warm-up
        rising = rates(name, range(4), learning_rate=1.0, warmup_steps=4, total_steps=4)
        assert rising == pytest.approx([0.25, 0.5, 0.75, 1.0], abs=FLOAT32)


@pytest.mark.parametrize("name", config.SCHEDULES)
def test_by_the_clock_the_fall_follows_the_progress_and_the_rise_the_steps(name):
    progress = keras.Variable(0.0, dtype="float32", trainable=False)
    numbers = {"learning_rate": 1.0, "warmup_steps": 4, "total_steps": 100}
    by_clock = schedules.schedule(name, **numbers, progress=progress)
    by_steps = schedules.schedule(name, **numbers)
    # Whatever the step: the time stands still, and the rise goes on to the peak.
    assert [float(by_clock(step)) for step in (0, 1, 2, 3, 50, 5_000)] == [0.25, 0.5, 0.75, 1, 1, 1]
    for share in (0.25, 0.5, 0.75, 0.9375, 1.0):
        progress.assign(share)
        assert float(by_clock(50)) == pytest.approx(float(by_steps(100 * share)), abs=FLOAT32)
        assert float(by_clock(5_000)) == float(by_clock(50))
    # On a slow machine the time is over before the warm-up is.
    assert float(by_clock(0)) == pytest.approx(min(0.25, float(by_clock(50))), abs=FLOAT32)


@pytest.mark.parametrize("by_clock", [False, True])
@pytest.mark.parametrize("name", config.SCHEDULES)
def test_they_compile_to_one_float32_program_for_all_steps(name, by_clock):
    progress = keras.Variable(0.5, dtype="float32", trainable=False) if by_clock else None
    course = schedules.schedule(
        name, learning_rate=1e-3, warmup_steps=4, total_steps=20, progress=progress
    )
    step = tf.Variable(0, dtype=tf.int64)
    compiled = tf.function(lambda: course(step), jit_compile=True, autograph=False)
    assert compiled.get_concrete_function().output_dtypes == tf.float32
    for number in (0, 3, 11, 19):
        step.assign(number)
        np.testing.assert_allclose(compiled(), course(number), rtol=1e-5)
    assert compiled.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("name", config.SCHEDULES)
def test_a_configuration_gives_the_same_course_again(name):
    course = schedules.schedule(
        name, learning_rate=0.5, warmup_steps=3, total_steps=9, cooldown_rate=0.5
    )
    again = type(course).from_config(course.get_config())
    assert [float(again(step)) for step in range(10)] == [float(course(step)) for step in range(10)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "step"}, r"must be one of linear, cosine, .*; received 'step'"),
        ({"learning_rate": 0.0}, "`learning_rate` is out of range; received learning_rate=0.0"),
        ({"learning_rate": float("inf")}, "`learning_rate` is out of range"),
        ({"total_steps": 0}, "`total_steps` is out of range"),
        ({"warmup_steps": 11}, "`warmup_steps` is out of range; received warmup_steps=11"),
        ({"cooldown_rate": 0.0}, "`cooldown_rate` is out of range"),
        ({"cooldown_rate": 1.5}, "`cooldown_rate` is out of range"),
    ],
)
def test_numbers_out_of_range_are_refused(changes, message):
    numbers = {
        "name": "linear",
        "learning_rate": 1.0,
        "warmup_steps": 0,
        "total_steps": 10,
        **changes,
    }
    with pytest.raises(ValueError, match=message):
        schedules.schedule(numbers.pop("name"), **numbers)
