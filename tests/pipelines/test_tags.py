"""Tags and the entities they spell, against their definition and against nervaluate."""

import numpy as np
import pytest
from nervaluate.loaders import ListLoader

from tfpt.pipelines.tags import (
    Entity,
    Tag,
    count_loose,
    find_entities,
    has_ends,
    parse_tag,
    sorted_tags,
)


def defined(tags, scheme):
    """Every stretch of words that is an entity by the words of the definition."""
    end, single = {"BIO": "--", "BIOES": "ES", "BILOU": "LU"}[scheme]
    found = []
    for first, last in ((i, j) for i in range(len(tags)) for j in range(i, len(tags))):
        kind = tags[first][2:]
        begin, inside, last_one = (f"{place}-{kind}" for place in ("B", "I", end))
        stretch, behind = tags[first : last + 1], tags[last + 1 : last + 2]
        if scheme == "BIO":
            is_one = stretch == [begin, *[inside] * (last - first)] and behind != [inside]
        elif last == first:
            is_one = stretch == [f"{single}-{kind}"]
        else:
            is_one = stretch == [begin, *[inside] * (last - first - 1), last_one]
        if is_one and kind:
            found.append(Entity(kind, first, last))
    return found


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        ("", []),
        ("O O", []),
        ("B-x", [("x", 0, 0)]),
        ("B-x I-x O B-y", [("x", 0, 1), ("y", 3, 3)]),
        ("B-x B-x I-x", [("x", 0, 0), ("x", 1, 2)]),
        ("B-x I-y", [("x", 0, 0)]),
        ("I-x I-x O", []),
        ("O I-x B-x", [("x", 2, 2)]),
        ("B-x O I-x", [("x", 0, 0)]),
        ("B-a-b I-a-b", [("a-b", 0, 1)]),
    ],
)
def test_entities_of_bio_begin_with_b_and_go_on_with_i_of_their_type(tags, entities):
    assert find_entities(tags.split(), ends=False) == [Entity(*one) for one in entities]


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        ("S-x", [("x", 0, 0)]),
        ("B-x E-x S-y", [("x", 0, 1), ("y", 2, 2)]),
        ("B-x I-x I-x E-x", [("x", 0, 3)]),
        ("B-x I-x O", []),
        ("B-x", []),
        ("E-x", []),
        ("B-x E-y", []),
        ("B-x B-x E-x", [("x", 1, 2)]),
        ("B-x S-x E-x", [("x", 1, 1)]),
        ("B-x L-x U-y", [("x", 0, 1), ("y", 2, 2)]),
    ],
)
def test_entities_of_bioes_need_their_end(tags, entities):
    assert find_entities(tags.split(), ends=True) == [Entity(*one) for one in entities]


@pytest.mark.parametrize("scheme", ["BIO", "BIOES", "BILOU"])
def test_entities_of_any_sequence_are_those_of_the_definition(scheme):
    random = np.random.default_rng(0)
    names = [f"{place}-{kind}" for place in scheme if place != "O" for kind in ("a", "b")]
    names.append("O")
    rows = [random.choice(names, size).tolist() for size in random.integers(1, 12, 3000)]
    found = [find_entities(tags, ends=scheme != "BIO") for tags in rows]
    assert sum(map(len, found)) > 1000
    assert found == [defined(tags, scheme) for tags in rows]


def test_entities_of_whole_tags_are_those_of_nervaluate():
    """It lets an I- begin an entity too, so each follows its own here."""
    random = np.random.default_rng(1)
    pieces = [["O"], ["B-a"], ["B-a", "I-a"], ["B-b", "I-b", "I-b"]]
    rows = [
        [tag for piece in random.integers(0, len(pieces), size) for tag in pieces[piece]]
        for size in random.integers(1, 9, 500)
    ]
    for tags, theirs in zip(rows, ListLoader().load(rows), strict=True):
        found = find_entities(tags, ends=False)
        assert found == [Entity(one.label, one.start, one.end) for one in theirs]


def test_words_of_no_entity_are_counted():
    assert count_loose(["B-x", "I-x", "O", "I-x", "I-y", "B-y"], ends=False) == 2
    assert count_loose(["B-x", "I-x", "E-x", "S-y"], ends=True) == 0
    assert count_loose(["B-x", "I-x", "O", "S-y"], ends=True) == 2


def test_tags_are_taken_apart_and_the_names_of_bilou_are_those_of_bioes():
    assert parse_tag("O") == Tag("O", "")
    assert parse_tag("B-creative-work") == Tag("B", "creative-work")
    assert parse_tag("I-PER.NOM") == Tag("I", "PER.NOM")
    assert (parse_tag("L-x"), parse_tag("U-x")) == (Tag("E", "x"), Tag("S", "x"))


@pytest.mark.parametrize("name", ["B-a\tb", "I-a\nb", "B-a\u2028b"])
def test_a_type_of_several_lines_or_columns_is_refused(name):
    with pytest.raises(ValueError, match="holds a tab or a line break"):
        parse_tag(name)


@pytest.mark.parametrize("name", ["NOUN", "B", "B-", "X-per", "b-per", "", "B_per", "-per"])
def test_what_is_no_tag_is_refused(name):
    with pytest.raises(ValueError, match=f"the tag '{name}' is none of BIO or BIOES"):
        parse_tag(name)


def test_tags_have_one_order_and_tell_their_scheme():
    names = ["I-b", "O", "B-b", "E-a", "S-a", "I-a", "B-a"]
    assert sorted_tags(names) == ("O", "B-a", "I-a", "E-a", "S-a", "B-b", "I-b")
    assert has_ends(names)
    assert has_ends(["O", "U-x"])
    assert not has_ends(["O", "B-x", "I-x"])
