"""Tags of words and the entities they spell: BIO (IOB2) and BIOES, which is called BILOU too.

The reading is strict. Of BIO an entity is a B- and all I- of its type that follow without a gap; an
I- that follows something else belongs to none. Of BIOES it is an S- alone, or a B-, any number of
I- and an E-, all of one type; what lacks its beginning or its end is none.

Source: Ramshaw and Marcus 1995, https://aclanthology.org/W95-0107; Ratinov and Roth 2009, section
3.1, https://aclanthology.org/W09-1119, for BILOU.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

OUTSIDE = "O"
# Of the first word of an entity, of one that goes on, of the last one, of one that is all of it.
BEGIN, INSIDE, END, SINGLE = "B", "I", "E", "S"
_SYNONYMS = {"L": END, "U": SINGLE}
_ORDER = (OUTSIDE, BEGIN, INSIDE, END, SINGLE)


class Tag(NamedTuple):
    """A tag, taken apart."""

    place: str  # one of the five letters above
    kind: str  # of the entity, such as "person"; "" outside


class Entity(NamedTuple):
    """Words that are one entity."""

    kind: str
    first: int  # word
    last: int  # word, not the one behind it


def parse_tag(name: str) -> Tag:
    """Take a tag apart: "B-person" -> ("B", "person").

    Raises:
        ValueError: It is none of BIO or BIOES, or of more than one line or column.
    """
    if name == OUTSIDE:
        return Tag(OUTSIDE, "")
    place, dash, kind = name.partition("-")
    place = _SYNONYMS.get(place, place)
    if place not in _ORDER[1:] or not dash or not kind:
        raise ValueError(
            f"the tag {name!r} is none of BIO or BIOES. A tag is O, or B-, I-, E- (L-) or S- (U-) "
            "with the type behind it, as B-person."
        )
    if "\t" in kind or kind.splitlines() != [kind]:  # files of tags have one to a line or column
        raise ValueError(f"the tag {name!r} holds a tab or a line break. Leave it out of the type.")
    return Tag(place, kind)


def sorted_tags(names: Iterable[str]) -> tuple[str, ...]:
    """Tags in a fixed order: O, then by type, of a type B-, I-, E-, S-."""

    def order(name: str):
        tag = parse_tag(name)
        return tag.kind, _ORDER.index(tag.place), name

    return tuple(sorted(names, key=order))


def has_ends(names: Iterable[str]) -> bool:
    """Whether tags say where an entity ends: whether they are BIOES and not BIO."""
    return any(parse_tag(name).place in (END, SINGLE) for name in names)


def find_entities(tags: Sequence[str], *, ends: bool) -> list[Entity]:
    """The entities that the tags of a sentence spell, from left to right.

    Args:
        tags: Of each word.
        ends: Whether they are BIOES; see `has_ends`.

    Raises:
        ValueError: A tag is none.
    """
    entities = []
    first = -1  # where the entity begins that may go on; -1: there is none
    before = Tag(OUTSIDE, "")
    for number, name in enumerate([*tags, OUTSIDE]):
        tag = parse_tag(name)
        goes_on = first >= 0 and tag.place in (INSIDE, END) and tag.kind == before.kind
        if goes_on and tag.place == END:
            entities.append(Entity(tag.kind, first, number))
            first = -1
        elif not goes_on:
            if first >= 0 and not ends:
                entities.append(Entity(before.kind, first, number - 1))
            if tag.place == SINGLE:
                entities.append(Entity(tag.kind, number, number))
            first = number if tag.place == BEGIN else -1
        before = tag
    return entities


def count_loose(tags: Sequence[str], *, ends: bool) -> int:
    """How many words have a tag of an entity, but belong to none by the strict reading."""
    inside = sum(one.last - one.first + 1 for one in find_entities(tags, ends=ends))
    return sum(name != OUTSIDE for name in tags) - inside
