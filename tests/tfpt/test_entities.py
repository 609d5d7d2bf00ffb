"""What is told of the entities a tagger finds, against counts of sets."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpt import entities
from tfpt.entities import entity_report, evaluate_entities
from tfpt.pipelines.tags import find_entities
from tfpt.pipelines.token_classification import TaggedSentence


def tags_of(scheme):
    places = [place for place in scheme if place != "O"]
    return ["O", *(f"{place}-{kind}" for kind in ("loc", "org", "per") for place in places)]


def random_sentences(scheme, *, num=400, seed=0):
    """True tags, and predicted ones of which two in three are the same."""
    random = np.random.default_rng(seed)
    names = tags_of(scheme)
    true = [random.choice(names, size).tolist() for size in random.integers(1, 15, num)]
    answers = [
        [tag if random.random() < 0.67 else str(random.choice(names)) for tag in tags]
        for tags in true
    ]
    return true, answers


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_the_report_equals_counts_of_sets_of_entities(scheme):
    both = [
        {
            (number, *one)
            for number, tags in enumerate(rows)
            for one in find_entities(tags, ends=scheme != "BIO")
        }
        for rows in random_sentences(scheme)
    ]
    report = entity_report(*random_sentences(scheme), tags_of(scheme))
    found = report.to_dict()
    shares = []
    for kind in ("loc", "org", "per", None):
        true, answers = ({one for one in part if kind in (None, one[1])} for part in both)
        right = len(true & answers)
        precision, recall = right / len(answers), right / len(true)
        shares.append((precision, recall, 2 * precision * recall / (precision + recall)))
        row = found["classes"][kind] if kind else found
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx(shares[-1])
        assert (row["num_entities"], row["num_predicted"]) == (len(true), len(answers))
    macro = tuple(found[f"macro_{name}"] for name in ("precision", "recall", "f1"))
    assert macro == pytest.approx(tuple(np.mean(shares[:3], axis=0)))
    assert found["num_entities"] > 100
    true, answers = map(np.concatenate, random_sentences(scheme))
    assert found["word_accuracy"] == pytest.approx(np.mean(true == answers))


def test_an_entity_counts_only_with_its_type_and_both_ends():
    true = [["B-per", "I-per", "O", "B-loc", "O", "B-org", "I-org"]]
    answers = [["B-per", "I-per", "O", "B-org", "O", "B-org", "O"]]
    report = entity_report(true, answers, tags_of("BIO"))
    assert report.scores["per"] == entities.Score(num_correct=1, num_predicted=1, num_true=1)
    assert report.scores["loc"] == entities.Score(num_correct=0, num_predicted=0, num_true=1)
    assert report.scores["org"] == entities.Score(num_correct=0, num_predicted=2, num_true=1)
    assert report.total == entities.Score(num_correct=1, num_predicted=3, num_true=3)
    assert (report.total.precision, report.total.recall) == (1 / 3, 1 / 3)
    assert report.accuracy == 5 / 7


def test_shares_of_nothing_are_zero():
    report = entity_report([["O"]], [["O"]], tags_of("BIO"))
    assert report.measures == {
        "f1": 0.0,
        "precision": 0.0,
        "recall": 0.0,
        "word_accuracy": 1.0,
        "loss": 0.0,
    }
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()


NAMES = tags_of("BIO")


def tagger_of(table):
    """A model that gives token N the logits of row N of a table."""
    inputs = {"token_ids": keras.Input((None,), dtype="int32", name="token_ids")}
    rows = keras.layers.Embedding(*table.shape)
    model = keras.Model(inputs, {"token_classification": rows(inputs["token_ids"])})
    rows.embeddings.assign(table)
    return model


def batches(weights, labels, batch_size):
    tokens = np.arange(labels.size, dtype="int32").reshape(labels.shape)
    parts = ({"token_ids": tokens}, *({"token_classification": x} for x in (labels, weights)))
    return tf.data.Dataset.from_tensor_slices(parts).batch(batch_size)


def sentences_of(weights, labels, names=NAMES):
    """Sentences whose words are those of the rows that have a weight."""
    rows = []
    for is_word, row in zip(np.asarray(weights) > 0, labels, strict=True):
        tags = tuple(names[one] for one in row[is_word])
        rows.append(TaggedSentence(("word",) * len(tags), tags, np.ones(len(tags), bool)))
    return rows


def test_words_with_a_weight_count_sentence_by_sentence():
    random = np.random.default_rng(1)
    shape, classes = (11, 6), len(NAMES)
    labels = random.integers(0, classes, shape).astype("int32")
    weights = (random.random(shape) < 0.6).astype("float32")
    weights[10] = 0  # a row that fills a batch up
    table = random.normal(size=(labels.size, classes)).astype("float32")
    table[np.arange(labels.size), labels.ravel()] += 1.5
    report = evaluate_entities(
        tagger_of(table),
        batches(weights, labels, 4),
        sentences=sentences_of(weights[:10], labels[:10]),
        label_names=NAMES,
    )
    logits = table.reshape(*shape, classes)
    is_word = weights > 0
    true = [[NAMES[one] for one in labels[i][is_word[i]]] for i in range(10)]
    answers = [[NAMES[one] for one in logits[i].argmax(-1)[is_word[i]]] for i in range(10)]
    assert report.num_sentences == 10
    assert report.num_words == int(weights.sum())
    expected = entity_report(true, answers, NAMES, loss=report.loss)
    assert dataclasses.replace(report, calibration=None, worst=()) == expected
    shifted = logits[is_word] - logits[is_word].max(axis=-1, keepdims=True)
    log_shares = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    losses = -np.take_along_axis(log_shares, labels[is_word][:, None], axis=-1)
    assert report.loss == pytest.approx(losses.mean(), abs=1e-6)
    # The worst sentences by the mean loss of their words, and the calibration of all words.
    rows = np.nonzero(is_word)[0]
    means = [losses[rows == row].mean() for row in range(10)]
    assert [one.row for one in report.worst] == np.argsort(-np.array(means)).tolist()
    assert report.worst[0].loss == pytest.approx(max(means), abs=1e-6)
    worst = report.worst[0].row
    assert report.worst[0].right == "\t".join(true[worst])
    shares = np.exp(log_shares)
    sure = shares.max(axis=-1)
    assert report.worst[0].probability == pytest.approx(sure[rows == worst].prod(), rel=1e-5)
    assert report.calibration.counts.sum() == len(rows)
    squares = np.square(shares - np.eye(classes)[labels[is_word]]).sum(axis=-1)
    assert report.calibration.brier_score == pytest.approx(squares.mean(), abs=1e-6)


def test_words_that_nothing_tags_count_as_outside():
    tags = ("B-per", "I-per", "O", "B-loc")
    missing = np.array([True, False, True, False])  # the surname, and a place past the end of a row
    rows = [
        TaggedSentence(("Ada", "Byron", "in", "London"), tags, missing),
        TaggedSentence(("Rome",), ("B-loc",), np.array([False])),
    ]
    labels = np.array([[NAMES.index("B-per"), 0], [0, 0]], "int32")
    weights = np.array([[1, 1], [0, 0]], "float32")
    table = 9 * np.eye(len(NAMES), dtype="float32")[labels.ravel()]
    data = batches(weights, labels, 2)
    report = evaluate_entities(tagger_of(table), data, sentences=rows, label_names=NAMES)
    # "Ada" alone is no entity of the text: one is found, none is right, none is left out.
    assert report.scores["per"] == entities.Score(num_correct=0, num_predicted=1, num_true=1)
    assert report.scores["loc"] == entities.Score(num_correct=0, num_predicted=0, num_true=2)
    assert (report.num_sentences, report.num_words, report.accuracy) == (2, 5, 2 / 5)
    assert report.calibration.counts.sum() == 2
    assert report.loss == pytest.approx(np.log(1 + (len(NAMES) - 1) * np.exp(-9)), rel=1e-3)
    (worst,) = report.with_texts([one.words for one in rows]).worst
    assert (worst.right, worst.predicted) == ("per: Ada Byron; loc: London", "per: Ada")


@pytest.mark.parametrize("names", [NAMES, tags_of("BIOES")])
def test_worst_sentences_are_told_by_the_entities_in_their_words(names):
    ends = ["E-per", "S-loc"] if "S-loc" in names else ["I-per", "B-loc"]
    tags = [["O", "O", "O"], ["B-per", ends[0], ends[1]]]
    labels = np.array([[names.index(tag) for tag in row] for row in tags], "int32")
    weights = np.array([[0, 0, 0], [1, 1, 1]], "float32")
    answers = np.eye(len(names))[labels.ravel()]
    answers[3:] = np.eye(len(names))[[names.index("O")] * 2 + [names.index(ends[1])]]
    table = (9 * answers).astype("float32")
    report = evaluate_entities(
        tagger_of(table),
        batches(weights, labels, 2),
        sentences=sentences_of(weights, labels, names),
        label_names=names,
    )
    (told,) = report.with_texts([("never", "seen", "."), ("Ada", "Byron", "London")]).worst
    assert told.row == 1  # the first row has no word that counts
    assert told.texts == ("Ada Byron London",)
    assert told.right == "per: Ada Byron; loc: London"
    assert told.predicted == "loc: London"


def test_types_may_hold_blanks():
    names = ["O", "B-work of art", "I-work of art"]
    labels = np.array([[1, 2, 0]], "int32")
    table = 9 * np.eye(3, dtype="float32")[labels.ravel()]
    weights = np.ones((1, 3))
    report = evaluate_entities(
        tagger_of(table),
        batches(weights, labels, 1),
        sentences=sentences_of(weights, labels, names),
        label_names=names,
    )
    (told,) = report.with_texts([("Night", "Watch", "hangs")]).worst
    assert (told.right, told.predicted) == ("work of art: Night Watch",) * 2
    assert report.scores["work of art"].f1 == 1


def test_a_data_set_without_a_word_is_refused():
    labels = np.zeros((2, 3), "int32")
    table = np.zeros((6, len(NAMES)), "float32")
    dataset = batches(np.zeros((2, 3), "float32"), labels, 2)
    with pytest.raises(ValueError, match="data set to evaluate on holds no word"):
        evaluate_entities(
            tagger_of(table),
            dataset,
            sentences=[TaggedSentence((), (), ())] * 2,
            label_names=NAMES,
        )
