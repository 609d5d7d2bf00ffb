"""An evaluation as a page: all of it is there, nothing of a user's is markup."""

import html.parser
import itertools
import json
import re
import shlex

import numpy as np
import pytest
import tiny_bert

from tfpt import config, embedding_report, evaluation, evaluation_page, regression_report
from tfpt.checkpoints import Run, open_run
from tfpt.confusion_drawing import confusion_svg
from tfpt.recipes import classify, embed, score

NAMES = (
    "<script>alert(1)</script>",
    'a "quoted" & b',
    "card_payment",
    *(f"c{n}" for n in range(74)),
)


class Parser(html.parser.HTMLParser):
    """Notes tags, texts, and what refers to somewhere; sees that what is opened is closed."""

    VOID = ("meta", "br", "wbr")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.texts, self.references, self.titles = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        assert not [name for name, _ in attributes if name.startswith("on")]
        self.references += [value for name, value in attributes if name in ("href", "src")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            (self.titles if self.open[-2:] == ["rect", "title"] else self.texts).append(data)


def parsed(page):
    parser = Parser()
    parser.feed(page)
    assert parser.open == []
    assert "script" not in parser.seen
    # Nothing from elsewhere: only places within the page are referred to.
    assert all(reference.startswith("#") for reference in parser.references)
    assert not re.search(r"url\((?!#)|@import|https?://", page)
    return parser


@pytest.fixture(scope="module")
def report():
    """Of 77 classes, with texts that are no markup either."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 77, 400).astype("int32")
    logits = random.normal(size=(400, 77)).astype("float32")
    logits[np.arange(400), labels] += 2
    found = evaluation.classification_report(labels, logits, NAMES)
    return found.with_texts([(f"<img src=x onerror=alert({row})> & <b>",) for row in range(400)])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    assignments = [
        "data.name=my data",
        "data.text=a,b",
        "training.patience=2",
        "data.balanced=true",
    ]
    settings = config.override(classify.config(), assignments)
    run = Run(
        tmp_path_factory.mktemp("page") / "<run>",
        tokenizer=tiny_bert.TOKENIZER,
        recipe="tfpt.recipes.classify",
        settings=settings,
        label_names=NAMES,
    )
    records = [
        {"epoch": n, "step": 10 * (n + 1), "loss": 2.0 - n, "val_loss": 2.5 - n}
        | {"classification_accuracy": 0.3 * n, "val_classification_accuracy": 0.25 * n}
        | {"classification_loss": 2.0 - n, "val_classification_loss": 2.5 - n}
        for n in range(3)
    ]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (run.path / "history.jsonl").write_text(lines)
    return run


@pytest.fixture(scope="module")
def page(run, report):
    evaluation_page.write_page(
        run,
        "test",
        report.to_dict(),
        measures=report.measures,
        monitor=classify.MONITOR,
        defaults=config.to_dict(classify.config()),
    )
    return (run.path / "evaluation.html").read_text()


def test_every_class_measure_and_worst_row_is_there_and_nothing_is_markup(page, report):
    parser = parsed(page)
    for name in NAMES:
        assert parser.texts.count(name) >= 3  # in the table, at the left and at the top
    for value in report.measures.values():
        assert f"{value:.4f}" in parser.texts
    for one in report.worst:
        assert one.texts[0] in parser.texts
        assert f"{one.loss:.4f}" in parser.texts
        assert f"{one.probability:.4f}" in parser.texts
    assert f"{report.to_dict()['classes']['c5']['f1']:.4f}" in parser.texts
    text = " ".join("".join(parser.texts).split())
    error = report.calibration.expected_calibration_error
    assert f"Expected calibration error {error:.4f}, Brier" in text
    # Of each curve a mark for the best epoch; of the loss of each objective none, it is the loss.
    assert parser.texts.count("best epoch") == 2
    assert {"loss", "classification accuracy"} <= set(parser.texts)
    assert "classification loss" not in parser.texts


def test_worst_texts_of_embeddings_are_told_by_their_rank(run):
    report = embedding_report.EmbeddingReport(
        num_texts=9,
        num_queries=4,
        recall={1: 0.75},
        mean_reciprocal_rank=0.75,
        uniformity=-2.0,
        missed=(embedding_report.Missed(rank=7, query=(1, 0), right=(1, 1), found=(0, 1)),),
    )
    report = report.with_texts([("a", "b"), ("the query", "its partner")])
    written = evaluation_page.page(
        run,
        "test",
        report.to_dict(),
        measures=report.measures,
        monitor=embed.MONITOR,
        defaults=config.to_dict(classify.config()),
    )
    parser = parsed(written)
    assert "rows with the highest rank" in " ".join("".join(parser.texts).split())
    at = parser.texts.index("the query")
    told = [text.strip() for text in parser.texts[at:] if text.strip()]
    assert told[:4] == ["the query", "its partner", "b", "7"]


def test_each_cell_tells_its_classes_and_its_count(page, report):
    titles = set(parsed(page).titles)
    rows, columns = np.nonzero(report.confusion)
    assert len(titles) == len(rows)
    for row, column in zip(rows, columns, strict=True):
        count, total = report.confusion[row, column], report.confusion[row].sum()
        assert f"{NAMES[row]} \u2192 {NAMES[column]}: {count} of {total}" in titles


def test_a_small_matrix_has_its_numbers_and_long_names_are_cut():
    drawn = confusion_svg(["a" * 60, "b"], [[1234, 1], [0, 7]])
    parser = parsed(drawn)
    assert parser.texts.count("a" * 60) == 2  # to the pointer
    assert parser.texts.count("a" * 40 + "\u2026") == 2
    assert [text for text in parser.texts if text.isdigit()] == ["1234", "1", "7"]
    assert len(drawn) < 3_000


def test_the_page_is_the_same_each_time_and_light_and_dark(page, run, report):
    again = evaluation_page.page(
        run,
        "test",
        report.to_dict(),
        measures=report.measures,
        monitor=classify.MONITOR,
        defaults=config.to_dict(classify.config()),
    )
    assert again == page
    assert "prefers-color-scheme: dark" in page
    # Every colour of a drawing is a variable, which the dark page has too.
    body = page[page.index("<body>") :]
    assert not re.search(r"#[0-9a-f]{6}\b", body)
    used = set(re.findall(r"var\((--\w+)\)", page))
    assert used <= set(re.findall(r"(--\w+):", page))


def test_the_command_trains_with_the_same_settings(page, run):
    text = "".join(parsed(page).texts)
    command = text[text.index("tfpt finetune") : text.index("tfpt evaluate")]
    verb, *words = shlex.split(command.replace("\\\n", " "))[1:]
    assert (verb, words[0]) == ("finetune", "classify")
    assignments = [after for word, after in itertools.pairwise(words) if word == "--set"]
    assert len(assignments) == 4
    found = config.override(classify.config(), assignments)
    assert config.to_dict(found) == run.settings
    assert words[-2:] == ["--out", str(run.path)]


def test_what_a_run_took_over_is_not_set(run):
    defaults = config.to_dict(classify.config())
    settings = config.override(classify.config(), ["start=runs/my bert", "model.num_layers=2"])
    other = Run(run.path.with_name("other"), tokenizer=tiny_bert.TOKENIZER, settings=settings)
    other.recipe = "mine.classify"
    link = run.path.with_name("best")
    link.symlink_to("other")
    linked = evaluation_page.command(open_run(link), defaults)
    assert linked.endswith(shlex.quote(str(other.path)))
    written = evaluation_page.command(other, defaults)
    assert shlex.split(written.replace("\\\n", " ")) == [
        *("tfpt", "finetune", "mine.classify", "--from", "runs/my bert"),
        *("--out", str(other.path)),
    ]


def test_a_report_without_classes_and_a_run_without_records_make_a_page_too(tmp_path):
    run = Run(tmp_path / "run", tokenizer=tiny_bert.TOKENIZER, settings=score.config())
    scores = np.arange(5.0)
    report = regression_report.regression_report(scores, scores[::-1])
    written = evaluation_page.page(
        run,
        "validation",
        report.to_dict(),
        measures=report.measures,
        monitor=score.MONITOR,
        defaults=config.to_dict(score.config()),
    )
    parser = parsed(written)
    assert "Worst examples" in parser.texts
    assert not {"Learning curves", "Classes", "Confusion", "Calibration"} & set(parser.texts)
    assert "16.0000" in parser.texts  # the largest squared error
