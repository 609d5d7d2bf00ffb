"""Questions from SQuAD's JSON, and every way in which a file can be wrong."""

import copy
import gzip
import json

import pytest

from tfpt.pipelines.squad import Answer, divide_documents, read_questions

CONTEXT = "Zo\u00eb \U0001f3ac went to Paris in 1990."
GOOD = {
    "version": "v2.0",
    "data": [
        {
            "title": "Paris",
            "paragraphs": [
                {
                    "context": CONTEXT,
                    "qas": [
                        {
                            "id": "a",
                            "question": "Where?",
                            "answers": [
                                {"text": "Paris", "answer_start": 14},
                                {"text": "to Paris", "answer_start": 11},
                            ],
                            "type": "place",
                        },
                        {
                            "id": 7,
                            "question": "Why?",
                            "is_impossible": True,
                            "answers": [],
                            "plausible_answers": [{"text": "Paris", "answer_start": 14}],
                        },
                    ],
                }
            ],
        }
    ],
}


def written(tmp_path, content, name="questions.json"):
    path = tmp_path / name
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    return str(path)


@pytest.mark.parametrize("name", ["questions.json", "questions.json.gz"])
def test_questions_have_their_answers_with_places_in_characters(tmp_path, name):
    found = read_questions(written(tmp_path, GOOD, name))
    assert found.rows == [("Where?", CONTEXT), ("Why?", CONTEXT)]
    assert found.ids == ["a", "7"]
    assert found.answers == [(Answer("Paris", 14), Answer("to Paris", 11)), ()]
    assert CONTEXT[14 : found.answers[0][0].end] == "Paris"
    chosen = found.select([1])
    assert (chosen.ids, chosen.answers, len(chosen)) == (["7"], [()], 1)


def entry(**changes):
    """A file whose first question is changed; a value of None takes the field away."""
    content = copy.deepcopy(GOOD)
    question = content["data"][0]["paragraphs"][0]["qas"][0]
    question.update(changes)
    for name in [name for name, value in changes.items() if value is None]:
        del question[name]
    return content


PLACE = "article 1, paragraph 1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{\n"data": [1,]}', r"questions\.json:2: not JSON \(.* at column \d+\)"),
        ("[]", r"questions\.json: a JSON object is needed; received \[\]"),
        ({"data": {}}, r"questions\.json: `data` must be a list; received {}"),
        ({"data": []}, r"questions\.json: there is no question in it"),
        ({"data": [{"title": "x"}]}, r"article 1: there is no field `paragraphs`"),
        ({"data": [{"paragraphs": ["x"]}]}, f"{PLACE}: a JSON object is needed; received 'x'"),
        ({"data": [{"paragraphs": [{"context": "x"}]}]}, f"{PLACE}: there is no field `qas`"),
        (entry(id=None), f"{PLACE}, question 1: there is no field `id`"),
        (entry(id="7"), "two questions have the id '7'"),
        (entry(question=3), r"questions\.json: question a: `question` must be a string; receiv"),
        (entry(question="\ud800"), "question a: `question` holds half of a surrogate pair"),
        (entry(answers=None), "question a: it has no `answers`.*`is_impossible` is true"),
        (entry(answers=[]), "question a: it has no `answers`"),
        (entry(is_impossible=True), "question a: `is_impossible` is true, but there are answers"),
        (entry(is_impossible=1), "question a: `is_impossible` is true or false; received 1"),
        (entry(answers=[{"text": "x"}]), "question a, an answer: there is no field `answer_start`"),
        (
            entry(answers=[{"text": "Paris", "answer_start": "14"}]),
            "question a, an answer: `answer_start` must be a whole number; received '14'",
        ),
        (entry(answers=[{"text": " ", "answer_start": 3}]), "question a: the `text` .* is empty"),
    ],
)
def test_what_is_broken_names_the_file_and_the_question(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_questions(written(tmp_path, content))


@pytest.mark.parametrize(
    ("start", "there"), [(13, "' Pari'"), (-1, "nothing"), (99, "nothing"), (24, "'990.'")]
)
def test_an_answer_that_does_not_stand_at_its_place_is_refused_or_has_none(tmp_path, start, there):
    path = written(
        tmp_path,
        entry(
            answers=[
                {"text": "Paris", "answer_start": start},
                {"text": "1990", "answer_start": 23},
            ]
        ),
    )
    message = f"question a: the answer 'Paris' does not stand at character {start} .*where {there}"
    with pytest.raises(ValueError, match=message):
        read_questions(path)
    found = read_questions(path, misplaced="drop")
    assert found.answers[0] == (Answer("Paris", -1), Answer("1990", 23))


def test_files_of_other_kinds_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"x\.jsonl: questions are read from SQuAD's JSON"):
        read_questions(str(tmp_path / "x.jsonl"))
    with pytest.raises(FileNotFoundError, match=r"There is no file .*x\.json\."):
        read_questions(str(tmp_path / "x.json"))
    with pytest.raises(ValueError, match=r'`misplaced` is "error" or "drop"; received \'keep\''):
        read_questions(written(tmp_path, GOOD), misplaced="keep")


def articles(titles, paragraphs=1):
    data = []
    for number, title in enumerate(titles):
        qas = [
            {"id": f"{number}-{place}", "question": "?", "is_impossible": True}
            for place in range(3 * paragraphs)
        ]
        contexts = [
            {"context": f"text {number} {place}", "qas": qas[3 * place : 3 * place + 3]}
            for place in range(paragraphs)
        ]
        data.append({"title": title, "paragraphs": contexts})
    return {"data": data}


def test_documents_are_dealt_out_whole_and_once_and_for_all(tmp_path):
    titles = [f"document {number % 40}" for number in range(50)]
    questions = read_questions(written(tmp_path, articles(titles)))
    shares = {"train": 0.8, "validation": 0.1, "test": 0.1}
    parts = divide_documents(questions, shares)
    documents = {name: set(part.documents) for name, part in parts.items()}
    assert {name: len(own) for name, own in documents.items()} == {
        "train": 32,
        "validation": 4,
        "test": 4,
    }
    assert len(set.union(*documents.values())) == 40
    assert sorted(name for part in parts.values() for name in part.ids) == sorted(questions.ids)
    # The order of the documents moves none.
    turned = read_questions(written(tmp_path, {"data": articles(titles)["data"][::-1]}))
    again = divide_documents(turned, shares)
    assert {name: set(part.documents) for name, part in again.items()} == documents


def test_of_one_article_each_paragraph_is_a_document(tmp_path):
    questions = read_questions(written(tmp_path, articles(["all"], paragraphs=10)))
    assert len(set(questions.documents)) == 10
    untitled = read_questions(written(tmp_path, articles(["", "", ""], paragraphs=2)))
    assert len(set(untitled.documents)) == 3


def test_documents_with_a_context_in_common_are_dealt_out_as_one(tmp_path):
    content = articles([f"document {number}" for number in range(12)])
    for number, article in enumerate(content["data"]):
        article["paragraphs"][0]["context"] = f"text {number // 4}"  # four documents each
    parts = divide_documents(
        read_questions(written(tmp_path, content)), {"train": 0.4, "validation": 0.3, "test": 0.3}
    )
    contexts = [{context for _, context in part.rows} for part in parts.values()]
    assert [len(one) for one in contexts] == [1, 1, 1]
    assert len(set.union(*contexts)) == 3


def test_too_few_documents_cannot_be_dealt_out(tmp_path):
    questions = read_questions(written(tmp_path, articles(["a", "b"])))
    assert len(divide_documents(questions, {"train": 0.9, "validation": 0.1})["validation"]) == 3
    with pytest.raises(ValueError, match="its 2 documents are too few to hold out validation and"):
        divide_documents(questions, {"train": 0.8, "validation": 0.1, "test": 0.1})


@pytest.mark.parametrize(
    ("folder", "file", "num_questions", "num_documents", "unplaced"),
    [
        ("qa_policyqa", "dev.json", 3809, 20, 0),
        ("qa_policyqa", "test.json", 4152, 20, 0),
        ("qa_zh_cmrc2018", "cmrc2018_dev.json", 3219, 848, 200),
        ("qa_zh_cmrc2018", "cmrc2018_trial.json", 1002, 256, 5),
    ],
)
def test_real_data_sets_are_read_whole(
    shared_data, folder, file, num_questions, num_documents, unplaced
):
    path = str(shared_data(folder) / file)
    questions = read_questions(path, misplaced="drop")
    assert len(questions) == num_questions
    # Two documents of CMRC 2018 have one title.
    assert len(set(questions.documents)) in (num_documents, num_documents - 1)
    answers = [one for own in questions.answers for one in own]
    assert sum(one.start < 0 for one in answers) == unplaced
    if unplaced:
        with pytest.raises(ValueError, match=f"{file}: question .* does not stand at character"):
            read_questions(path)
