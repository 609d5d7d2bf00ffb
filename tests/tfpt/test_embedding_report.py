"""What is found by embeddings, against plain loops; and correlations with scores."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_bert
from scipy import stats

from tfpt import embedding_report, models, objectives, pipelines
from tfpt.embedding_report import for_labels, for_partners, ranks, uniformity
from tfpt.pipelines.text_groups import TextGroups


def test_nothing_is_found_by_what_is_no_number():
    embeddings = np.full((4, 2), np.nan, np.float32)
    pairs = np.array([[0, 1], [2, 3]])
    assert ranks(embeddings, for_partners(pairs)).tolist() == [2, 2]


def embeddings(count, width=6, seed=0):
    x = np.random.default_rng(seed).normal(size=(count, width))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def groups_of(labels):
    labels = np.array(labels, np.int32)
    tokens = tf.ragged.constant([[1]] * len(labels), dtype=tf.int32)
    rows = np.arange(len(labels), dtype=np.int32)[:, None]
    return TextGroups(kind="labels", tokens=tokens, rows=rows, groups=labels)


def place_of(right, wrong):
    """The place of the nearest right one, after what is wrong and not farther."""
    return 1 + sum(one >= max(right) for one in wrong)


def by_loops(x, queries, candidates, is_right):
    found = []
    for query in queries:
        others = [one for one in candidates if one != query]
        alike = {one: float(x[query] @ x[one]) for one in others}
        right = [alike[one] for one in others if is_right(query, one)]
        wrong = [alike[one] for one in others if not is_right(query, one)]
        if right:
            found.append(place_of(right, wrong))
    return found


@pytest.mark.parametrize("at_once", [1, 50, 1 << 22])
def test_places_of_labels_are_those_of_a_loop(monkeypatch, at_once):
    monkeypatch.setattr(embedding_report, "_PRODUCTS_AT_ONCE", at_once)
    labels = np.random.default_rng(1).integers(0, 9, 40)
    labels[7] = 9  # alone
    x = embeddings(40)
    expected = by_loops(x, range(40), range(40), lambda one, other: labels[one] == labels[other])
    found = ranks(x, for_labels(groups_of(labels)))
    assert found.tolist() == expected
    assert len(expected) == np.sum(np.bincount(labels)[labels] > 1) < 40
    assert max(expected) > 3


@pytest.mark.parametrize("at_once", [1, 50, 1 << 22])
def test_places_of_partners_are_those_of_a_loop(monkeypatch, at_once):
    monkeypatch.setattr(embedding_report, "_PRODUCTS_AT_ONCE", at_once)
    random = np.random.default_rng(2)
    pairs = random.integers(0, 30, (25, 2)).astype(np.int32)
    pairs[:3] = [[4, 4], [5, 6], [5, 6]]  # a text and itself, and a pair twice
    x = embeddings(30)
    together = {tuple(pair) for pair in pairs.tolist()}
    expected = by_loops(
        x,
        sorted(set(pairs[:, 0].tolist())),
        sorted(set(pairs[:, 1].tolist())),
        lambda one, other: (one, other) in together,
    )
    assert ranks(x, for_partners(pairs)).tolist() == expected
    assert len(set(expected)) > 3


def test_embeddings_that_are_all_the_same_find_nothing():
    same = np.tile(embeddings(1), (6, 1))
    assert ranks(same, for_labels(groups_of([0, 0, 1, 1, 2, 2]))).tolist() == [5] * 6
    pairs = np.array([[0, 1], [2, 3], [4, 5]], np.int32)
    assert ranks(same, for_partners(pairs)).tolist() == [3] * 3


def test_the_uniformity_is_that_of_all_pairs(monkeypatch):
    x = embeddings(30)
    far = [np.sum((x[i] - x[k]) ** 2) for i in range(30) for k in range(30) if i != k]
    expected = np.log(np.mean(np.exp(-2 * np.array(far, np.float64))))
    for at_once in (1, 100, 1 << 22):
        monkeypatch.setattr(embedding_report, "_PRODUCTS_AT_ONCE", at_once)
        assert uniformity(x) == pytest.approx(expected, abs=1e-5)
    assert uniformity(np.tile(x[:1], (5, 1))) == pytest.approx(0, abs=1e-5)
    assert uniformity(x[:1]) == 0


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(5)
    encoder = models.encoder(tiny_bert.size(), tiny_bert.V)
    return objectives.model(encoder, objectives.contrastive(models.embedder(encoder)))


def words(*numbers):
    return " ".join(f"word{number}" for number in numbers)


def data_of(folder, rows, columns):
    text = "".join(",".join(row) + "\n" for row in [columns, *rows])
    for name in ("train", "dev"):
        (folder / f"{name}.csv").write_text(text)
    has_label = "label" in columns
    return pipelines.text_embedding(
        folder,
        tiny_bert.TOKENIZER,
        sequence_length=12,
        batch_size=8,
        columns=pipelines.EmbeddingColumns(
            text=tuple(column for column in columns if column != "label"),
            label="label" if has_label else "",
        ),
    )


def alone(model, text):
    tokens = tiny_bert.TOKENIZER.tokenize(tf.constant([text])).to_list()[0]
    ids = np.array([[tiny_bert.TOKENIZER.cls_id, *tokens, tiny_bert.TOKENIZER.sep_id]], np.int32)
    given = {"token_ids": ids, "segment_ids": 0 * ids, "padding_mask": 0 * ids + 1}
    return model(given)["contrastive"].numpy()[0]


def test_a_report_of_pairs_asks_for_partners_and_correlates_with_scores(model, tmp_path):
    random = np.random.default_rng(0)
    rows = [
        tuple(words(*random.integers(0, 40, random.integers(1, 6))) for _ in range(2))
        for _ in range(13)
    ]
    data = data_of(tmp_path, rows, ("one", "other"))
    scores = random.normal(size=13).round(3)
    lines = [f"{one},{other},{score}" for (one, other), score in zip(rows, scores, strict=True)]
    (tmp_path / "scored.csv").write_text("\n".join(lines))
    scored = pipelines.scored_pairs(
        tmp_path / "scored.csv", tiny_bert.TOKENIZER, sequence_length=12, batch_size=8
    )
    judged = pipelines.JudgedTexts(
        groups=data.splits["validation"], texts=data.judged("validation").texts, scored=scored
    )
    report = embedding_report.evaluate_embeddings(model, judged)
    x = {text: alone(model, text) for row in rows for text in row}
    alike = [float(x[one] @ x[other]) for one, other in rows]
    assert report.spearman == pytest.approx(stats.spearmanr(alike, scores).statistic, abs=1e-6)
    assert report.pearson == pytest.approx(stats.pearsonr(alike, scores).statistic, abs=1e-5)
    names = sorted(x)
    table = np.array([x[name] for name in names])
    together = {(names.index(one), names.index(other)) for one, other in rows}
    places = np.array(
        by_loops(
            table,
            sorted({one for one, _ in together}),
            sorted({other for _, other in together}),
            lambda one, other: (one, other) in together,
        )
    )
    expected = {f"recall_at_{k}": np.mean(places <= k) for k in (1, 5, 10)}
    expected["mean_reciprocal_rank"] = np.mean(1 / places)
    assert 0 < expected["recall_at_10"] < 1
    for name, value in expected.items():
        assert report.measures[name] == pytest.approx(value)
    assert report.num_queries == len(places)
    told = report.to_dict()
    assert (told["num_texts"], told["num_scored"]) == (len(names), 13)
    assert told["spearman"] == report.spearman


def test_a_report_of_labels_asks_for_others_of_the_label(model, tmp_path):
    rows = [(words(number), "abc"[number % 3]) for number in range(9)] + [(words(20), "d")]
    with pytest.warns(UserWarning, match="1 of 4 labels have a single text"):
        data = data_of(tmp_path, rows, ("text", "label"))
    report = embedding_report.evaluate_embeddings(model, data.judged("validation"))
    assert (report.num_texts, report.num_queries, report.num_scored) == (10, 9, 0)
    assert list(report.measures) == [
        *("recall_at_1", "recall_at_5", "recall_at_10"),
        "mean_reciprocal_rank",
        "uniformity",
    ]


@pytest.mark.parametrize("kind", ["pairs", "labels"])
def test_the_worst_are_texts_with_wrong_ones_nearer_than_the_right_ones(model, tmp_path, kind):
    texts = [words(*np.random.default_rng(n).integers(0, 40, 1 + n % 5)) for n in range(60)]
    texts = list(dict.fromkeys(texts))
    if kind == "pairs":
        rows, columns = list(zip(texts[:24], texts[24:48], strict=True)), ("one", "other")
        rows.append((texts[0], texts[48]))
        partners = {one: {other for first, other in rows if first == one} for one, _ in rows}
        queries, candidates = partners, {other for _, other in rows}
    else:
        rows, columns = [(text, "abcd"[n % 4]) for n, text in enumerate(texts)], ("text", "label")
        of = dict(rows)
        queries = {one: {two for two in of if of[two] == of[one]} - {one} for one in of}
        candidates = set(texts)
    data = data_of(tmp_path, rows, columns)
    report = embedding_report.evaluate_embeddings(model, data.judged("validation"))
    assert report.worst == ()
    report = report.with_texts(data.source_rows("validation"))
    x = {text: alone(model, text) for text in texts}
    ranks_of, answers = {}, {}
    for query, right in queries.items():
        order = sorted(candidates - {query}, key=lambda other: -float(x[query] @ x[other]))
        ranks_of[query] = 1 + min(order.index(one) for one in right)
        wrong = [one for one in order if one not in right]
        answers[query] = order[ranks_of[query] - 1], wrong[0]
    places = sorted(ranks_of.values(), reverse=True)[:20]
    assert [one.loss for one in report.worst] == [place for place in places if place > 1]
    for one in report.worst:
        (query,) = one.texts
        assert rows[one.row][0] == query
        assert (ranks_of[query], *answers[query]) == (one.loss, one.right, one.predicted)
    told = report.to_dict()["worst"][0]
    assert list(told) == ["row", "rank", "text", "right", "predicted"]
    assert told["rank"] == places[0]


def test_of_texts_alone_there_is_nothing_to_find(model, tmp_path):
    data = data_of(tmp_path, [(words(number),) for number in range(9)], ("text",))
    report = embedding_report.evaluate_embeddings(model, data.judged("validation"))
    assert list(report.measures) == ["uniformity"]
    assert report.num_queries == 0
    assert -4 < report.uniformity < 0
