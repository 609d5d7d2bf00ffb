"""The report as a page: it shows what the report holds, and needs nothing from elsewhere."""

import html.parser
import json
import re

import pytest

from tfpt.pipelines import Cleaning, Repetition, clean_documents

TEXT = "the cat sat on the mat and it purred until the dog came home from its walk in the park"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    documents = [
        (TEXT,),
        (TEXT.upper(),),
        (f"{TEXT} again",),
        ("<script>alert('&')</script>",),
        ("spam " * 40,),
        ("write to jane@example.com, who is the cat that sat on all of the mats",),
        ("\u05d1\u05e8\u05d0\u05e9\u05d9\u05ea \u05d1\u05e8\u05d0 \u05d0\u05dc\u05d4\u05d9\u05dd",),
    ]
    folder = tmp_path_factory.mktemp("page")
    (folder / "eval.txt").write_text("who is the cat that sat on all of the mats <b>\n")
    cleaning = Cleaning(
        min_words=4,
        repetition=Repetition(),
        count_languages=True,
        overlap=(str(folder / "eval.txt"),),
        personal_data=True,
        exact_duplicates=True,
        near_duplicates=0.6,
    )
    return clean_documents(documents, folder / "clean", cleaning).path


class Parser(html.parser.HTMLParser):
    """Notes the tags that are open, and what refers to somewhere."""

    VOID = ("meta", "br")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.references = [], [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.references += [
            value for name, value in attributes if name in ("href", "src", "xlink:href")
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_is_whole_and_refers_to_nothing_else(page):
    parser = Parser()
    parser.feed(page)
    assert parser.open == []
    assert parser.seen.count("svg") == 3  # the funnel, lengths, languages
    assert not {"script", "link", "img", "iframe"} & set(parser.seen)
    assert all(reference.startswith("#") for reference in parser.references)
    assert "http" not in page
    assert not re.search(r"url\((?!#)", page)


def test_what_stands_in_the_corpus_is_no_markup(page):
    assert "&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;" in page


def test_personal_data_is_not_shown(page, folder):
    assert "jane@example.com" not in page
    assert "jane@example.com" not in (folder / "report.json").read_text()
    assert "&lt;EMAIL&gt;" in page


def test_the_page_shows_the_counts(page, folder):
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["before"]["documents"] == 7
    for step in report["steps"]:
        for reason, count in step["dropped"].items():
            assert re.search(rf"<td>{reason}</td><td class=\"n\">{count}</td>", page), reason
    assert "repeats: " in page
