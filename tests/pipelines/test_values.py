"""What a column may hold: texts, classes, several classes, scores."""

import functools

import pytest

from tfpt.pipelines import values

of_classes = functools.partial(values.classes_of, separator=";")


@pytest.mark.parametrize(
    ("value", "name"),
    [(" a b ", "a b"), (3, "3"), (True, "true"), (False, "false"), ("1.5", "1.5")],
)
def test_a_class_is_named_by_anything_plain(value, name):
    assert values.class_of(value, "label") == name


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("a; b ;c d", ("a", "b", "c d")),
        ("a", ("a",)),
        ("b;a;b", ("b", "a")),
        ("", ()),
        ("  ", ()),
        ([], ()),
        (["a", " b "], ("a", "b")),
        (["a;b"], ("a;b",)),
        ([1, True, "x"], ("1", "true", "x")),
    ],
)
def test_several_classes_are_a_list_or_separated_text(value, names):
    assert of_classes(value, "labels") == names


@pytest.mark.parametrize(
    ("value", "score"),
    [("3.8", 3.8), (" -1e-3 ", -1e-3), (4, 4.0), (2.5, 2.5), ("0", 0.0), ("1_000", 1000.0)],
)
def test_a_score_is_a_number_or_the_text_of_one(value, score):
    found = values.score_of(value, "score")
    assert found == score
    assert type(found) is float


@pytest.mark.parametrize(
    "value",
    [
        *("high", "nan", "NaN", "inf", "-Infinity", "1,5", "1e39", "1e999"),
        *(float("nan"), float("inf"), -4e38, 10**400, True, None, [1.0]),
    ],
)
def test_what_is_no_finite_number_is_refused_by_column(value):
    message = r"^the field `stars` must be a finite number; received .*\. Correct it, or remove"
    with pytest.raises(ValueError, match=message):
        values.score_of(value, "stars")


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        (values.score_of, "", "the field `x` is empty. Write a number"),
        (values.score_of, " \t", "the field `x` is empty. Write a number"),
        (values.class_of, " ", "the label is empty"),
        (values.class_of, 1.5, "`x` must be text, a whole number, true or false; received 1.5"),
        (values.class_of, None, "`x` must be text, .* received None"),
        (values.text_of, 3, "`x` must be text; received 3"),
        (values.text_of, "\ud83d", "`x` holds half of a surrogate pair"),
        (values.class_of, "\ud83d", "`x` holds half of a surrogate pair"),
        (of_classes, "\ud83d", "`x` holds half of a surrogate pair"),
        (of_classes, "a;;b", "`x` has an empty label among others: 'a;;b'"),
        (of_classes, "a;", "`x` has an empty label among others: 'a;'"),
        (of_classes, ["a", ""], "`x` has an empty label among others: "),
        (of_classes, None, "`x` must be a list of labels, or text with ';' between"),
        (of_classes, 3, "`x` must be a list of labels, .* received 3. A row without a label"),
        (of_classes, ["a", 1.5], "`x` must be text, a whole number, true or false; received 1.5"),
        (of_classes, [["a"]], "`x` must be text, a whole number"),
    ],
)
def test_what_a_column_cannot_hold_is_refused(read, value, message):
    with pytest.raises(ValueError, match=message):
        read(value, "x")


def test_a_label_names_classes_unless_it_is_a_score():
    assert values.classes_in("a b") == ("a b",)
    assert values.classes_in(("a", "b")) == ("a", "b")
    assert values.classes_in(()) == ()
    assert values.classes_in(2.5) == ()


def test_names_that_are_whole_numbers_are_in_order_of_size():
    assert values.in_order({"10", "9", "-1"}) == ("-1", "9", "10")
    assert values.in_order({"10", "9", "x"}) == ("10", "9", "x")
    assert values.in_order(()) == ()
