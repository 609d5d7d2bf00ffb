"""Evaluation texts that are found in a corpus."""

import numpy as np
import pytest

from tfpt.pipelines.cleaning.overlap import (
    evaluation_texts,
    load_evaluation_texts,
    save_evaluation_texts,
    texts_found,
)


def words(first, last):
    return " ".join(f"w{number}" for number in range(first, last))


@pytest.fixture
def evaluation():
    long, other = (words(0, 20),), (words(100, 113), words(113, 115))
    middle, short = (words(200, 209),), (words(300, 305),)
    return evaluation_texts([("one", [long, short]), ("two", [other, middle])], 13)


def test_a_run_of_words_is_found_wherever_it_stands(evaluation):
    assert texts_found((words(3, 16),), evaluation).tolist() == [0]
    assert texts_found(("Before. W3; w4", words(5, 16) + "!", "after"), evaluation).tolist() == [0]
    assert texts_found((words(3, 15),), evaluation).tolist() == []
    assert texts_found((words(0, 30), words(90, 120)), evaluation).tolist() == [0, 2]


def test_a_text_of_few_words_is_found_as_a_whole_only(evaluation):
    assert texts_found(("x " + words(200, 209),), evaluation).tolist() == [3]
    assert texts_found((words(200, 208),), evaluation).tolist() == []
    assert texts_found((words(300, 305),), evaluation).tolist() == []
    assert evaluation.sources == (("one", 2, 1), ("two", 2, 0))
    assert evaluation.starts.tolist() == [0, 2, 4]


def test_texts_that_share_a_run_are_all_found():
    evaluation = evaluation_texts([("one", [(words(0, 14),), (words(0, 13),)])], 13)
    assert texts_found((words(0, 13),), evaluation).tolist() == [0, 1]


def test_in_chinese_runs_of_characters_are_found():
    poem = ("床前明月光\uff0c疑是地上霜。", "举头望明月\uff0c低头思故乡。")
    evaluation = evaluation_texts([("poems", [poem])], 13)
    assert texts_found(("一二三床前明月光疑是地上霜举头望四",), evaluation).tolist() == [0]
    assert texts_found(("床前明月光\uff0c疑是地上霜。",), evaluation).tolist() == []


def test_degenerate_documents_share_nothing(evaluation):
    for document in ((), ("",), ("one",), ("😀",)):
        assert texts_found(document, evaluation).tolist() == []


def test_what_is_saved_is_loaded(evaluation, tmp_path):
    save_evaluation_texts(evaluation, tmp_path / "texts")
    loaded = load_evaluation_texts(str(tmp_path / "texts"))
    assert (loaded.sizes, loaded.sources) == (evaluation.sizes, evaluation.sources)
    assert np.array_equal(loaded.hashes, evaluation.hashes)
    assert np.array_equal(loaded.texts, evaluation.texts)


def test_a_source_without_a_long_text_is_named():
    with pytest.raises(ValueError, match="tiny holds no evaluation text of at least 8 words"):
        evaluation_texts([("tiny", [("too short",)])], 13)


def test_of_reviews_each_is_found_in_itself_and_few_in_novels(shared_data):
    lines = (shared_data("cls_sst2") / "test.tsv").read_text(encoding="utf-8").splitlines()
    reviews = [(line.split("\t")[0],) for line in lines]
    evaluation = evaluation_texts([("sst2", reviews)], 13)
    _, num_texts, num_short = evaluation.sources[0]
    found = [number in texts_found(one, evaluation) for number, one in enumerate(reviews)]
    assert sum(found) == num_texts - num_short > 1000
    novel = sorted(shared_data("lm_novels_en").glob("*.txt"))[0].read_text(encoding="utf-8")
    assert len(texts_found((novel[:300_000],), evaluation)) <= 1
