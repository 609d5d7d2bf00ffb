"""The decisions over all parts are those of the rule, written down without files and parts."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpt.pipelines import Cleaning, part_work
from tfpt.pipelines.cleaning.decisions import decide_duplicates, part_decisions
from tfpt.pipelines.cleaning.duplicates import document_hash
from tfpt.pipelines.cleaning.near_duplicates import band_keys, signature, similarity
from tfpt.pipelines.cleaning.part_files import clean_part

WORDS = [f"w{number}" for number in range(40)]


def by_the_rule(documents, cleaning):
    """For each step and document, the earlier document that it repeats, or -1."""
    decisions = {}
    left = range(len(documents))
    if cleaning.exact_duplicates:
        first: dict = {}
        for number in left:
            first.setdefault(document_hash(documents[number]), number)
        earlier = [first[document_hash(document)] for document in documents]
        decisions["exact_duplicates"] = [
            -1 if one == number else one for number, one in enumerate(earlier)
        ]
        left = [number for number in left if earlier[number] == number]
    if cleaning.near_duplicates:
        signatures = np.stack([signature(document) for document in documents])
        named = [-1] * len(documents)
        for keys in band_keys(signatures, cleaning.near_duplicates).tolist():
            first = {}
            for number in left:
                one = first.setdefault(keys[number], number)
                is_near = similarity(signatures[number], signatures[one])
                if one != number and is_near >= cleaning.near_duplicates:
                    named[number] = one if named[number] < 0 else min(named[number], one)
        decisions["near_duplicates"] = named
    return decisions


def decided(documents, cleaning, sizes, num_workers=1):
    """The same by parts of these sizes, in files."""
    with tempfile.TemporaryDirectory() as folder:
        partial = Path(folder)
        (partial / "parts").mkdir()
        starts = np.cumsum([0, *sizes]).tolist()
        for number, (start, end) in enumerate(itertools.pairwise(starts)):
            clean_part(documents[start:end], cleaning, part_work.part_folder(partial, number))
        decide_duplicates(partial, sizes, cleaning, num_workers)
        parts = [
            part_decisions(partial, start, end, cleaning)
            for start, end in itertools.pairwise(starts)
        ]
        return {step: np.concatenate([one[step] for one in parts]).tolist() for step in parts[0]}


@st.composite
def corpora(draw):
    """Documents of which many are equal or nearly so, and sizes of parts."""
    originals = draw(
        st.lists(st.lists(st.sampled_from(WORDS), max_size=30), min_size=1, max_size=4)
    )
    documents = []
    for place in draw(st.lists(st.integers(0, 3), min_size=1, max_size=14)):
        words = list(originals[place % len(originals)])
        if words and draw(st.booleans()):
            words[draw(st.integers(0, len(words) - 1))] = draw(st.sampled_from(WORDS))
        documents.append((" ".join(words) or "-",))
    cuts = sorted(draw(st.lists(st.integers(0, len(documents)), max_size=3)))
    ends = [*cuts, len(documents)]
    return documents, np.diff([0, *ends]).tolist()


@settings(max_examples=40, deadline=None)
@given(corpora(), st.booleans(), st.sampled_from([0.0, 0.3, 0.6, 1.0]))
def test_any_parts_give_what_the_rule_gives(corpus, exact, threshold):
    documents, sizes = corpus
    cleaning = Cleaning(min_words=0, exact_duplicates=exact, near_duplicates=threshold)
    if not cleaning.steps:
        return
    assert decided(documents, cleaning, sizes) == by_the_rule(documents, cleaning)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_bands_are_looked_through_by_several_processes(num_workers):
    documents = [(" ".join(WORDS[place % 7 : place % 7 + 20]),) for place in range(30)]
    cleaning = Cleaning(near_duplicates=0.4)
    found = decided(documents, cleaning, [10, 0, 20], num_workers)
    assert found == by_the_rule(documents, cleaning)
    assert found["near_duplicates"][7] == 0
    assert -1 not in found["near_duplicates"][7:]
