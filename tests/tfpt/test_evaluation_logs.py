"""What TensorBoard shows of an evaluation."""

import html

import numpy as np
import pytest
import tensorflow as tf
import tiny_bert
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tfpt import evaluation, evaluation_logs
from tfpt.checkpoints import Run

NAMES = ("good|bad", "<b>", "c")


def reported(seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, 40).astype("int32")
    return evaluation.classification_report(labels, random.normal(size=(40, 3)), NAMES)


def shown(run):
    """The events of the evaluation: values and steps by tag."""
    events = EventAccumulator(str(run.path / "logs" / "evaluation")).Reload()
    return {
        tag: [(one.step, tf.make_ndarray(one.tensor_proto)) for one in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "run", tokenizer=tiny_bert.TOKENIZER)
    model = tiny_bert.compiled()
    model.steps.assign(3)
    run.save_best(model)
    run.wait()
    return run


def test_measures_classes_confusion_and_calibration_are_shown_at_the_step_of_the_weights(run):
    report = reported(0)
    evaluation_logs.write_logs(run, "test", report.to_dict(), report.measures)
    found = shown(run)
    scalars = {**report.measures, "brier_score": report.calibration.brier_score}
    error = report.calibration.expected_calibration_error
    scalars["expected_calibration_error"] = error
    for name, value in scalars.items():
        ((step, written),) = found[f"test/{name}"]
        assert step == 3
        assert written == pytest.approx(value, rel=1e-6)
    texts = {
        name: html.unescape(found[f"test/{name}"][0][1].item().decode())
        for name in ("classes", "confusions", "calibration")
    }
    for name, f1 in zip(NAMES, report.f1, strict=True):
        (line,) = [one for one in texts["classes"].splitlines() if one.startswith(f"| {name} |")]
        assert f"| {f1:.4f} |" in line
    first = report.confusions()[0]
    assert (
        f"| {first['right']} | {first['predicted']} | {first['num_rows']} |" in texts["confusions"]
    )
    assert texts["calibration"].count("\n") == 1 + np.count_nonzero(report.calibration.counts)
    (_, image), *_ = found["test/confusion"]
    assert image[0] == image[1]  # width and height, before the picture


def test_a_later_evaluation_takes_the_place_of_the_one_before(run):
    for seed in (1, 2):
        report = reported(seed)
        evaluation_logs.write_logs(run, "test", report.to_dict(), report.measures)
    ((_, written),) = shown(run)["test/accuracy"]
    assert written == pytest.approx(reported(2).accuracy)
    assert len(list((run.path / "logs" / "evaluation").iterdir())) == 1


@pytest.mark.parametrize("num_classes", [2, 77, 600])
def test_an_image_has_a_square_for_each_pair_of_classes(num_classes):
    confusion = np.zeros((num_classes, num_classes), int)
    confusion[1, 0] = 5
    image = evaluation_logs.confusion_image(confusion)
    scale = -(-512 // num_classes)
    assert image.shape == (num_classes * scale + 8, num_classes * scale + 8, 3)
    dark = np.argwhere((image[8:, 8:] < 60).all(axis=-1))
    assert len(dark) == scale**2
    assert dark.min(axis=0).tolist() == [scale, 0]


def test_the_curve_of_a_training_is_read_back(run):
    assert evaluation_logs.points(run, "steps/loss") == []
    for first in (0, 2):  # a run that was stopped writes points again
        writer = tf.summary.create_file_writer(str(run.path / "logs" / "train"))
        with writer.as_default():
            for step in range(first, first + 3):
                tf.summary.scalar("steps/loss", 10.0 - step - first, step=step)
        writer.close()
    found = evaluation_logs.points(run, "steps/loss")
    assert found == [(0, 10.0), (1, 9.0), (2, 6.0), (3, 5.0), (4, 4.0)]
    assert evaluation_logs.points(run, "steps/none") == []
