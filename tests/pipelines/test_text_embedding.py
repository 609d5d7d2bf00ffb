"""Texts in groups as batches: what a batch holds, who is of one group, what is refused."""

import itertools
import warnings

import numpy as np
import pytest
import tensorflow as tf
from drawn import assert_untuned

from tfpt import features
from tfpt.pipelines import EmbeddingColumns, text_embedding, train_byte_pair

LENGTH = 8
LABEL = EmbeddingColumns(label="label")
# Pairs of words; two of them share w0, and so four texts are of one group.
PAIRS = [(0, 1), (2, 3), (0, 4), (5, 6), (7, 8), (9, 10), (4, 11)]
LABELS = {"a": [0, 1, 2, 3], "b": [4, 5], "c": [6], "d": [7, 8, 9]}


@pytest.fixture
def folder(tmp_path):
    """A function that writes train.csv and dev.csv with a header and gives their folder."""

    def written(header, train, dev=None):
        for name, rows in (("train", train), ("dev", dev or train)):
            lines = [header, *(",".join(str(one) for one in row) for row in rows)]
            (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
        return tmp_path

    return written


def words(rows):
    return [[f"w{one}" for one in row] for row in rows]


@pytest.fixture
def pairs(folder, tokenizer):
    def data(rows=PAIRS, *, batch_size=4, seed=3, columns=("one", "other")):
        path = folder(",".join(columns), words(rows))
        return text_embedding(
            path,
            tokenizer,
            sequence_length=LENGTH,
            batch_size=batch_size,
            columns=EmbeddingColumns(text=columns),
            seed=seed,
        )

    return data


@pytest.fixture
def labelled(folder, tokenizer):
    def data(rows=None, *, batch_size=8, seed=3):
        rows = rows or [(f"w{one}", label) for label, of in LABELS.items() for one in of]
        return text_embedding(
            folder("text,label", rows),
            tokenizer,
            sequence_length=LENGTH,
            batch_size=batch_size,
            columns=LABEL,
            seed=seed,
        )

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*have a single text")
        yield data


def drawn(dataset, count=None):
    """Of each batch the words by number, their groups and weights, as lists."""
    found = []
    for inputs, labels, weights in dataset if count is None else dataset.take(count):
        ids = inputs["token_ids"].numpy()
        assert (inputs["padding_mask"].numpy() == (np.arange(LENGTH) < 3)).all()
        rows = (ids[:, 1] - 5, labels["contrastive"].numpy(), weights["contrastive"].numpy())
        found.append(tuple(part.tolist() for part in rows))
    return found


def halves(values):
    middle = len(values) // 2
    return list(zip(values[:middle], values[middle:], strict=True))


def test_batches_keep_the_contract(pairs):
    data = pairs()
    for dataset in (data.train, data.validation, data.train_batches()):
        assert_untuned(dataset)
        inputs, labels, weights = dataset.element_spec
        for name, spec in inputs.items():
            assert (spec.shape, spec.dtype.name) == ((4, LENGTH), features.FEATURES[name].dtype)
        assert set(inputs) == {"token_ids", "segment_ids", "padding_mask"}
        assert labels == {"contrastive": tf.TensorSpec([4], tf.int32)}
        assert weights == {"contrastive": tf.TensorSpec([4], tf.float32)}
    assert data.test is None
    assert (data.num_train, data.num_validation, data.num_test) == (7, 7, 0)
    assert (data.steps_per_epoch, int(data.train.cardinality())) == (4, 4)
    assert data.label_names == ()


def test_a_batch_holds_first_texts_and_then_their_partners(pairs):
    seen = []
    for texts, groups, weights in drawn(pairs().train_batches(), 7):
        seen += halves(texts)
        assert all(one == other for one, other in halves(groups))
        assert weights == [1] * 4
    assert sorted(seen[:7]) == sorted(seen[7:]) == sorted(PAIRS)
    assert seen[:7] != seen[7:]


def test_texts_that_pairs_join_are_of_one_group_and_others_are_not(pairs):
    group = {}
    for texts, groups, _ in drawn(pairs().train_batches(), 7):
        group |= dict(zip(texts, groups, strict=True))
    together = [{0, 1, 4, 11}, {2, 3}, {5, 6}, {7, 8}, {9, 10}]
    for one, other in itertools.combinations(range(12), 2):
        assert (group[one] == group[other]) == any({one, other} <= some for some in together)


def test_texts_of_the_same_tokens_are_one_text(folder, tokenizer):
    rows = [("w1 w2", "w3"), ("W1  W2", "w4"), ("w5", "w6 w7 w8 w9 w1 w2 w3"), ("w10", "w11")]
    # The end of a text that does not fit into a row tells nothing.
    rows += [("w6 w7 w8 w9 w1 w2 w4", "w12")]
    path = folder("a,b", rows)
    data = text_embedding(
        path, tokenizer, sequence_length=8, batch_size=4, columns=EmbeddingColumns(text=("a", "b"))
    )
    split = data.splits["train"]
    assert split.rows.tolist() == [[0, 1], [0, 2], [3, 4], [5, 6], [4, 7]]
    assert [split.groups[number] for number in (1, 2)] == [split.groups[0]] * 2
    assert split.groups[3] == split.groups[7] != split.groups[0]
    assert split.num_texts == 8
    assert split.sizes.tolist() == [3, 3, 2]


def test_third_texts_are_alone_and_of_no_weight(pairs):
    rows = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 0)]
    data = pairs(rows, batch_size=6, columns=("one", "other", "wrong"))
    partners = {one: (other, wrong) for one, other, wrong in rows}
    for texts, groups, weights in drawn(data.train_batches(), 4):
        assert weights == [1, 1, 1, 1, 0, 0]
        for number in (0, 1):
            assert partners[texts[number]] == (texts[number + 2], texts[number + 4])
            assert groups[number] == groups[number + 2] != groups[number + 4]
    # What is wrong here is right there.
    split = data.splits["train"]
    assert split.groups[split.rows[3, 2]] == split.groups[split.rows[0, 0]]


def test_a_text_meets_another_one_of_its_label_that_is_drawn_anew(labelled):
    of = {one: label for label, some in LABELS.items() for one in some}
    met = {one: set() for one in of}
    data = labelled()
    for texts, groups, weights in drawn(data.train_batches(), 60):
        for (one, other), (group, same), weight in zip(
            halves(texts), halves(groups), halves(weights), strict=True
        ):
            met[one].add(other)
            assert of[one] == of[other]
            assert group == same
            assert (one != other) == (of[one] != "c")
            assert weight == ((0, 0) if one == 6 else (1, 1))
        told = dict(zip(texts, groups, strict=True))
        assert len({of[one] for one in texts}) == len(set(groups)) == len(set(told.values()))
    for one, others in met.items():
        assert others == set(LABELS[of[one]]) - ({one} if one != 6 else set())


def test_partners_are_equally_likely(labelled):
    counts = np.zeros(10)
    rows = [(f"w{one}", label) for label, of in LABELS.items() for one in of]
    for texts, _, _ in drawn(labelled(rows, batch_size=20).train_batches(), 600):
        for one, other in halves(texts):
            counts[other] += one == 0
    # 600 draws among 3; a deviation is 12.
    assert counts[:4].sum() == counts.sum() == 600
    np.testing.assert_allclose(counts[1:4], 200, atol=48)


def test_a_text_alone_comes_twice(folder, tokenizer):
    path = folder("text", [("w1",), ("w2",), ("w2",), ("w3",)])
    data = text_embedding(path, tokenizer, sequence_length=LENGTH, batch_size=8)
    texts, groups, weights = drawn(data.train_batches(), 1)[0]
    assert sorted(texts) == [1, 1, 2, 2, 2, 2, 3, 3]
    assert texts[:4] == texts[4:]
    assert len(set(groups)) == 3
    for one, other in itertools.combinations(range(8), 2):
        assert (texts[one] == texts[other]) == (groups[one] == groups[other])
    assert weights == [1] * 8


def test_an_epoch_of_training_rows_has_each_once_in_an_order_of_its_own(labelled):
    dataset = labelled(batch_size=8).train
    epochs = []
    for _ in range(2):
        batches = drawn(dataset)
        epochs.append([text for texts, _, _ in batches for text in texts[:4]])
        assert len(batches) == 3
        assert batches[-1][2] in ([1, 1, 0, 0] * 2, [1, 0, 0, 0] * 2, [0, 1, 0, 0] * 2)
    assert sorted(epochs[0][:10]) == sorted(epochs[1][:10]) == list(range(10))
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("kind", ["pairs", "labelled"])
def test_a_batch_follows_from_its_number_and_the_seed(kind, request):
    data = request.getfixturevalue(kind)
    batches = drawn(data().train_batches(), 12)
    assert drawn(data().train_batches(5), 7) == batches[5:]
    assert drawn(data(seed=4).train_batches(), 12) != batches
    # Far on in a long training, too.
    far = data().train_batches(10**12)
    assert drawn(far, 2) == drawn(far, 2) != batches[:2]


def test_validation_rows_come_once_whatever_the_seed_and_not_sorted(labelled, pairs):
    rows = [(f"w{number}", "abcd"[number // 10]) for number in range(40)]
    validation = drawn(labelled(rows, batch_size=24).validation)
    assert validation == drawn(labelled(rows, batch_size=24, seed=9).validation)
    assert all(len(set(groups)) > 2 for _, groups, _ in validation)
    firsts = [text for texts, _, weights in validation for text in texts[:12]]
    counted = [weight for _, _, weights in validation for weight in weights[:12]]
    assert counted == [1] * 40 + [0] * 8
    assert sorted(firsts[:40]) == list(range(40))
    # Those of the first batch fill up.
    assert firsts[40:] == firsts[4:12]
    some = drawn(pairs().validation)
    assert [pair for texts, _, _ in some for pair in halves(texts)][:7] != PAIRS
    assert some[-1][2] == [1, 0, 1, 0]


def test_copies_that_fill_up_a_batch_larger_than_the_rows_are_of_no_group(folder, tokenizer):
    train, dev = [(0, 1), (2, 3), (4, 5), (6, 7)], [(10, 11), (12, 13), (14, 15)]
    path = folder("one,other", words(train), words(dev))
    data = text_embedding(
        path,
        tokenizer,
        sequence_length=LENGTH,
        batch_size=8,
        columns=EmbeddingColumns(text=("one", "other")),
    )
    ((texts, groups, weights),) = drawn(data.validation)
    assert weights == [1, 1, 1, 0] * 2
    assert sorted(halves(texts)[:3]) == dev
    assert [one == other for one, other in halves(groups)] == [True] * 4
    assert sorted(groups[:4]) == [-1, 0, 1, 2]
    assert groups[3] == groups[7] == -1


def test_a_batch_that_would_hold_a_training_row_twice_is_refused(pairs):
    message = "a batch of 12 texts is made of 6 rows, and there are 2 to .* `batch_size` to 4, or"
    with pytest.raises(ValueError, match=message):
        pairs([(0, 1), (2, 3)], batch_size=12)


def test_a_text_with_two_labels_is_of_the_first_one(labelled):
    rows = [("w1", "a"), ("w2", "a"), ("w1", "b"), ("w3", "b"), ("w4", "b"), ("w5", "e")]
    with pytest.warns(UserWarning, match=r"train\.csv, train rows: 1 texts have several labels"):
        data = labelled(rows)
    split = data.splits["train"]
    assert split.groups[split.rows[:, 0]].tolist() == [0, 0, 0, 1, 1, 2]


def test_labels_with_a_single_text_are_told(folder, tokenizer):
    path = folder("text,label", [("w1", "a"), ("w2", "a"), ("w3", "b")])
    with pytest.warns(UserWarning, match=r"train\.csv, train rows: 1 of 2 labels have a single"):
        text_embedding(path, tokenizer, sequence_length=8, batch_size=4, columns=LABEL)


def test_a_text_that_joins_everything_is_told(pairs):
    with pytest.warns(UserWarning, match=r"61 of 63 texts are joined to one group by texts that"):
        pairs([*((number, 100) for number in range(60)), (101, 102)])


def test_third_texts_that_are_joined_to_their_pair_are_told(pairs):
    with pytest.warns(UserWarning, match="1 third texts are joined to the pair they stand with"):
        pairs([(0, 1, 2), (1, 2, 3), (4, 5, 6)], batch_size=6, columns=("a", "b", "c"))


def test_labels_of_validation_rows_may_be_others(folder, tokenizer):
    train = [("w1", "a"), ("w2", "b"), ("w3", "b"), ("w4", "a")]
    dev = [("w5", "x"), ("w6", "y"), ("w7", "x"), ("w8", "y")]
    path = folder("text,label", train, dev)
    data = text_embedding(path, tokenizer, sequence_length=8, batch_size=4, columns=LABEL)
    assert data.splits["validation"].groups.tolist() == [0, 1, 0, 1]


def test_validation_rows_that_tell_no_epoch_from_another_are_refused(folder, tokenizer):
    path = folder("text,label", [("w1", "a"), ("w2", "a"), ("w3", "b")], [("w1", "a"), ("w3", "b")])
    with pytest.raises(ValueError, match=r"dev\.csv: no label of the validation rows has two diff"):
        text_embedding(path, tokenizer, sequence_length=8, batch_size=4, columns=LABEL)


def test_plain_texts_come_from_a_txt_without_its_blank_lines(tmp_path, tokenizer):
    (tmp_path / "train.txt").write_text("w1\n\nw2 w3\n  \nw4\n")
    (tmp_path / "dev.txt").write_text("w5\nw6")
    data = text_embedding(tmp_path, tokenizer, sequence_length=8, batch_size=4)
    assert data.splits["train"].tokens.to_list() == [[6], [7, 8], [9]]
    assert data.num_validation == 2


def test_texts_are_judged_each_once_with_its_number(pairs):
    judged = pairs().judged("validation")
    rows = drawn(judged.texts)
    assert all(weights == [1] * 4 for _, _, weights in rows)
    assert [number for _, of, _ in rows for number in of] == list(range(12))
    # In the order in which they come first.
    assert [text for of, _, _ in rows for text in of] == list(range(12))
    assert judged.scored is None


@pytest.mark.parametrize(
    ("rows", "arguments", "message"),
    [
        ("a,b\nw1,w2\nw3,\n", {"text": ("a", "b")}, r"csv:3: the second text is empty, or .*: ''"),
        ("a,b\nw1,\u200b\n", {"text": ("a", "b")}, r"csv:2: the second text is empty, or holds no"),
        ("text\n w1\n \n", {}, r"train\.csv:3: the text is empty, or holds no token: ' '"),
        ("text\nw1\nW1\n", {}, r"train\.csv: all texts are the same; there is nothing to tell"),
        ("a,b\nw1,w2\nw2,w3\n", {"text": ("a", "b")}, "all pairs are joined to one group by texts"),
        ("text,label\nw1,x\nw2,x\n", {"label": "label"}, "every row has the label 'x'; there is"),
        ("text,label\nw1,x\nw2,y\n", {"label": "label"}, "no label has two different texts; noth"),
        ("text,label\nw1,x\nw2,\n", {"label": "label"}, r"csv:3: the label is empty"),
        (
            "a,b,s\nw1,w2,3.5\nw3,w4,-1\n",
            {"text": ("a", "b"), "score": "s", "least_score": 4},
            r"csv: no pair has a score of 4 or more; the largest is 3\.5\. Lower `least_score`",
        ),
        (
            "a,b,s\nw1,w2,x\n",
            {"text": ("a", "b"), "score": "s", "least_score": 4},
            "csv:2: the field `s` must be a finite number; received 'x'",
        ),
        ("text\nw1\n", {"label": "label"}, r"csv: no column `label`; the header has 'text'"),
        (
            "a,b,c\nw1,w2,W2\n",
            {"text": ("a", "b", "c")},
            r"csv:2: the third text is to mean something else .* equal to one of them: 'W2'",
        ),
    ],
)
def test_a_broken_file_is_refused_with_its_place(
    tmp_path, write, tokenizer, rows, arguments, message
):
    write("train.csv", rows)
    write("dev.csv", rows)
    columns = EmbeddingColumns(**arguments)
    size = 2 * max(2, len(columns.text))
    with pytest.raises(ValueError, match=message):
        text_embedding(tmp_path, tokenizer, sequence_length=8, batch_size=size, columns=columns)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequence_length": 2}, "`sequence_length` must be at least 3, .* received 2"),
        ({"batch_size": 5}, "2 of them for each pair, or text and its .* multiple of 2.* received"),
        ({"batch_size": 2}, "a multiple of 2, at least 4; received 2"),
        (
            {"columns": EmbeddingColumns(text=("a", "b", "c")), "batch_size": 8},
            "3 of them for each pair and its third text: a multiple of 3, at least 6; received 8",
        ),
    ],
)
def test_arguments_out_of_range_are_refused_before_a_file_is_read(tokenizer, arguments, message):
    numbers = {"sequence_length": 8, "batch_size": 4, **arguments}
    with pytest.raises(ValueError, match=message):
        text_embedding("nowhere", tokenizer, **numbers)


def test_pairs_of_small_scores_are_left_out(folder, tokenizer):
    rows = [("w1", "w2", 5), ("w3", "w4", 3.9), ("w5", "w6", 4), ("w7", "w8", -1)]
    columns = EmbeddingColumns(text=("a", "b"), score="s", least_score=4)
    path = folder("a,b,s", rows)
    data = text_embedding(path, tokenizer, sequence_length=8, batch_size=4, columns=columns)
    assert data.splits["train"].tokens.to_list() == [[6], [7], [10], [11]]
    assert (data.num_train, data.num_validation) == (2, 2)


def test_intents_are_read_whole(shared_data):
    folder = shared_data("intent_banking77")
    # Of bytes: another vocabulary of this size would take texts for the same.
    tokenizer = train_byte_pair([("How do I locate my card?",)], 262)
    data = text_embedding(
        folder,
        tokenizer,
        sequence_length=512,
        batch_size=64,
        columns=EmbeddingColumns(label="category"),
    )
    assert data.num_train + data.num_validation == 10003
    assert data.num_test == 3080
    assert len(data.splits["train"].sizes) == len(data.splits["test"].sizes) == 77
