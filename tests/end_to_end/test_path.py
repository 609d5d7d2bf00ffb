"""The whole path on real text: each command on what the one before it wrote.

The text is the docstrings of a few packages, split by source file; what is learnt is which library
a docstring comes from.
"""

import json
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from hashlib import sha256

import numpy as np
import pytest

from tfpt import config, evaluation, export, pipelines, serving
from tfpt.checkpoints import load, open_run
from tfpt.recipes import classify

SEQUENCE_LENGTH = 48
SIZE = {"num_layers": 1, "hidden_dim": 64, "num_heads": 2, "intermediate_dim": 128}
LIBRARIES = ("python", "keras")
MOST_ROWS = {"train": 300, "validation": 100, "test": 130}  # of a library
TOLERANCE = 1e-5


def split_of(path: str) -> str:
    """A file's split: a fifth of them is for validation, a fifth for the test."""
    place = sha256("/".join(path.split("/")[-2:]).encode()).digest()[0] % 5
    return {0: "validation", 1: "test"}.get(place, "train")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, docstrings):
    """`texts/` of sentences and documents, `reviews/` of labelled texts, `pairs/` of two each."""
    folder = tmp_path_factory.mktemp("path")
    for name in ("texts", "reviews", "pairs"):
        (folder / name).mkdir()
    splits: dict[str, list] = {"train": [], "validation": [], "test": []}
    for library in LIBRARIES:
        # In the order of a hash, so that a few rows come from many files.
        mixed = sorted(docstrings[library], key=lambda one: sha256(one.text.encode()).digest())
        for docstring in mixed:
            split = split_of(docstring.path)
            text = " ".join(pipelines.docstring_sentences(docstring.text))
            taken = sum(row["label"] == library for row in splits[split])
            if text and taken < MOST_ROWS[split]:
                splits[split].append({"text": text, "label": library})
    for rows in splits.values():
        rows.sort(key=lambda row: row["text"])
    everything = [docstring for found in docstrings.values() for docstring in found]
    for split, rows in splits.items():
        kept = [docstring for docstring in everything if split_of(docstring.path) == split]
        documents = pipelines.docstring_documents(kept)
        lines = ["\n".join(document) + "\n" for document in documents]
        (folder / "texts" / f"{split}.txt").write_text("\n".join(lines), encoding="utf-8")
        write_rows(folder / "reviews" / f"{split}.jsonl", rows)
        # The label is that of the second text: who reads only the first one learns nothing.
        pairs = [
            {"first": other["text"], "second": row["text"], "label": row["label"]}
            for other, row in zip(reversed(rows), rows, strict=True)
        ]
        write_rows(folder / "pairs" / f"{split}.jsonl", pairs)
    return folder


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def pretrained(folder, tfpt):
    """A pre-trained run, after vocabulary and stores."""
    vocabulary, stores, run = folder / "vocab.txt", folder / "stores", folder / "runs" / "bert"
    texts = folder / "texts"
    tfpt("vocabulary", texts / "train.txt", "--size", 2_000, "--out", vocabulary)
    for split in ("train", "validation"):
        arguments = ("--vocabulary", vocabulary, "--out", stores / split)
        tfpt("store", texts / f"{split}.txt", *arguments)
    numbers = {
        "data.store": stores / "train",
        "data.validation_store": stores / "validation",
        "data.sequence_length": SEQUENCE_LENGTH,
        "training.total_steps": 150,
        "training.warmup_steps": 15,
        "training.steps_per_epoch": 50,
        "training.validation_steps": 5,
        "training.learning_rate": 2e-3,
        **{f"model.{name}": value for name, value in SIZE.items()},
    }
    tfpt("pretrain", "bert", *overrides(numbers), "--out", run)
    return run


@pytest.fixture(scope="module")
def classifier(folder, pretrained, tfpt):
    """A fine-tuned run."""
    return finetuned(tfpt, pretrained, {"data.name": folder / "reviews"})


def finetuned(tfpt, pretrained, numbers):
    run = pretrained.with_name(numbers["data.name"].name)
    numbers = {
        "data.sequence_length": SEQUENCE_LENGTH,
        "training.learning_rate": 2e-3,
        "training.epochs": 3,
        **numbers,
    }
    tfpt("finetune", "classify", "--from", pretrained, *overrides(numbers), "--out", run)
    return run


def overrides(numbers):
    return [word for name, value in numbers.items() for word in ("--set", f"{name}={value}")]


@contextmanager
def served(*models):
    """`tfpt serve` in a process of its own; gives the addresses of REST and gRPC."""
    command = [sys.executable, "-m", "tfpt", "serve", *map(str, models)]
    server = subprocess.Popen(
        [*command, "--rest-port", "0", "--grpc-port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        addresses = re.search(r"REST (\S+), gRPC (\S+)\.", server.stdout.readline())
        yield addresses.groups()
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0


def answers(tfpt, *arguments):
    """The labels and the scores (N, C) that `tfpt predict` prints."""
    rows = [json.loads(line) for line in tfpt("predict", *arguments).splitlines()]
    return [row["label"] for row in rows], np.array([row["scores"] for row in rows])


def keras_scores(path):
    """Labels and softmax scores (N, C) of the test rows, from the Keras model of a run."""
    run = open_run(path)
    settings = config.from_dict(classify.config(), run.settings)
    data = classify.dataset(settings, run.tokenizer)
    model = load(path, build=lambda run: classify.model(settings, run.tokenizer, run.label_names))
    _, logits = evaluation.predictions(model, data.test)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = exponentials / exponentials.sum(axis=1, keepdims=True)
    return [run.label_names[best] for best in scores.argmax(axis=1)], scores


def test_masked_words_are_learnt(pretrained, tfpt):
    records = [json.loads(line) for line in (pretrained / "history.jsonl").open()]
    losses = [record["val_masked_lm_loss"] for record in records]
    # A model that knows nothing has the loss log(vocabulary size).
    assert losses[-1] + 0.05 < losses[0] < np.log(2_000) - 1
    # Evaluating measures the last validation once more.
    (measured,) = re.findall(r"masked_lm_loss\D+([\d.]+)", tfpt("evaluate", pretrained))
    assert float(measured) == pytest.approx(losses[-1], abs=1e-3)


def test_the_classifier_beats_the_majority_class_on_other_files(classifier, tfpt):
    printed = tfpt("evaluate", classifier)
    report = json.loads((classifier / "evaluation.json").read_text())
    assert report["split"] == "test"
    assert report["num_rows"] > 200
    assert report["majority_accuracy"] < 0.6
    assert report["accuracy"] > report["majority_accuracy"] + 0.15
    assert f"accuracy {report['accuracy']:.4f}" in printed


def test_keras_saved_model_and_server_give_equal_scores(folder, classifier, tfpt):
    import tensorflow as tf

    models = folder / "models" / "reviews"
    assert tfpt("export", classifier, "--out", models).endswith(f"{models}/1\n")
    with open(folder / "reviews" / "test.jsonl", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file][::10]
    labels, scores = keras_scores(classifier)
    labels, scores = labels[::10], scores[::10]
    assert len(set(labels)) > 1

    loaded = tf.saved_model.load(str(models / "1")).signatures["serving_default"]
    outputs = loaded(text=tf.constant(texts))
    assert [label.decode() for label in outputs["label"].numpy()] == labels
    np.testing.assert_allclose(outputs["scores"].numpy(), scores, atol=TOLERANCE)

    with served(models) as (rest, grpc):
        for asked in ((rest, "reviews"), ("--grpc", grpc, "reviews")):
            given_labels, given_scores = answers(tfpt, *asked, "--", *texts)
            assert given_labels == labels
            np.testing.assert_allclose(given_scores, scores, atol=TOLERANCE)


def test_pairs_go_the_same_path(folder, pretrained, tfpt):
    columns = {"data.text": "first,second", "data.name": folder / "pairs"}
    run = finetuned(tfpt, pretrained, columns)
    tfpt("evaluate", run)
    report = json.loads((run / "evaluation.json").read_text())
    assert report["accuracy"] > report["majority_accuracy"] + 0.1
    labels, scores = keras_scores(run)
    with open(folder / "pairs" / "test.jsonl", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][::25]
    models = export.export_run(classify, run, folder / "models" / "pairs").parent
    with serving.Server({"pairs": models}, rest_port=0, grpc_port=0) as server:
        texts = [text for row in rows for text in (row["first"], row["second"])]
        for protocol, address in (((), server.address), (("--grpc",), server.grpc_address)):
            asked = (*protocol, address, "pairs", "--pair", "--", *texts)
            given_labels, given_scores = answers(tfpt, *asked)
            assert given_labels == labels[::25]
            np.testing.assert_allclose(given_scores, scores[::25], atol=TOLERANCE)
