"""The recipe for tags, from files to entities: fine-tuned, evaluated, exported, shown."""

import json
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
import tiny_bert
from click.testing import CliRunner

from tfpt import callbacks, config, entities, evaluation, pipelines, training
from tfpt.cli import main
from tfpt.epoch_records import weights_step
from tfpt.pipelines.tags import find_entities
from tfpt.recipes import bert, tag

WORDS = tiny_bert.TOKENIZER.vocabulary[5:]
SIZE = {"model.max_sequence_length": 16, "data.sequence_length": 16, "model.num_layers": 1}
SIZE |= {"model.hidden_dim": 32, "model.num_heads": 2, "model.intermediate_dim": 32}
ONE_EPOCH = {"training.epochs": 1, "training.batch_size": 8}


def sets(numbers):
    return [f"{name}={value}" for name, value in numbers.items()]


def tagged(words):
    """word0 to word9 are places, and persons if the word before is one of word10 to word19."""
    found = []
    for number, word in enumerate(words):
        before = words[number - 1] if number else ""
        kind = "per" if before in WORDS[10:20] else "loc"
        found.append(f"B-{kind}" if word in WORDS[:10] else "O")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tag")
    random = np.random.default_rng(0)
    for name, count in (("train", 241), ("dev", 9), ("test", 13)):
        rows = [random.choice(WORDS[:25], 6).tolist() for _ in range(count)]
        text = "\n".join(
            "".join(f"{w}\t{t}\n" for w, t in zip(row, tagged(row), strict=True)) for row in rows
        )
        (folder / f"{name}.conll").write_text(text)
    tiny_bert.TOKENIZER.save(folder / "vocab.txt")
    return folder


def numbers(folder, **changes):
    chosen = {
        "data.name": folder,
        "data.vocabulary": folder / "vocab.txt",
        "training.batch_size": 8,
        "training.epochs": 8,
        "training.learning_rate": 3e-3,
    }
    return {**SIZE, **chosen, **changes}


@pytest.fixture(scope="module")
def run(folder):
    settings = config.override(tag.config(), sets(numbers(folder)))
    return training.finetune(tag, settings, folder / "run", verbose=0)


def test_a_run_names_its_recipe_and_its_tags_and_learns(run):
    opened = training.open_run(run.path)
    assert opened.recipe == "tfpt.recipes.tag"
    assert opened.label_names == ("O", "B-loc", "B-per")
    history = callbacks.history(opened)
    assert [record["step"] for record in history] == list(range(31, 249, 31))
    assert tag.MONITOR in history[0]
    assert history[-1]["loss"] < 0.2 * history[0]["loss"]


def test_a_run_is_evaluated_by_the_entities_of_its_test_sentences(run, folder):
    report = evaluation.evaluate_run(tag, run.path)
    assert isinstance(report, entities.EntityReport)
    settings = config.from_dict(tag.config(), run.settings)
    data = tag.dataset(settings, tiny_bert.TOKENIZER)
    model = tag.model(settings, tiny_bert.TOKENIZER, data.label_names)
    run.restore_best(model)
    true, predicted = set(), set()
    rows = (folder / "test.conll").read_text().strip().split("\n\n")
    place = 0
    for inputs, _, weights in data.test:
        logits = model(inputs)["token_classification"].numpy()
        for row, weight in zip(logits, weights["token_classification"].numpy(), strict=True):
            if not weight.any():
                continue
            tags = [line.split("\t")[1] for line in rows[place].splitlines()]
            answers = [data.label_names[one] for one in row[weight > 0].argmax(-1)]
            true |= {(place, *one) for one in find_entities(tags, ends=False)}
            predicted |= {(place, *one) for one in find_entities(answers, ends=False)}
            place += 1
    assert place == report.num_sentences == 13
    assert len(true) == report.total.num_true > 10
    right = len(true & predicted)
    assert report.measures["f1"] == pytest.approx(2 * right / (len(true) + len(predicted)))
    # Who knows the words alone, and not the one before, tells the more frequent kind of each.
    kinds = Counter(kind for _, kind, *_ in true)
    assert report.measures["f1"] > max(kinds.values()) / len(true) + 0.1
    written = json.loads((run.path / "evaluation.json").read_text())
    assert written == {"split": "test", "step": weights_step(run), **report.to_dict()}
    for one in report.worst:
        words, tags = zip(*(line.split("\t") for line in rows[one.row].splitlines()), strict=True)
        assert one.texts == (" ".join(words),)
        entities_there = [
            f"{k}: {' '.join(words[a : b + 1])}" for k, a, b in find_entities(tags, ends=False)
        ]
        assert one.right == "; ".join(entities_there)
    assert (run.path / "evaluation.html").exists()


def test_the_commands_go_the_whole_way(run, folder, tfpt, tmp_path):
    printed = tfpt("evaluate", run.path)
    assert "entities" in printed
    assert f"f1 {evaluation.evaluate_run(tag, run.path).measures['f1']:.4f}, " in printed
    path = tfpt("export", run.path, "--out", tmp_path / "models" / "ner").split()[-1]
    loaded = tf.saved_model.load(path)
    text = " ".join([WORDS[21], WORDS[3], WORDS[12], WORDS[4]])
    found = loaded.signatures["serving_default"](text=tf.constant([text]))
    assert found["text"].numpy().tolist() == [[WORDS[3].encode(), WORDS[4].encode()]]
    assert set(found["label"].numpy().ravel()) <= {b"loc", b"per"}
    assigned = [word for one in sets(numbers(folder)) for word in ("--set", one)]
    told = tfpt("show-batch", "tag", *assigned, "--rows", 2)
    assert "6 words with a tag" in told
    assert "B-loc" in told


def test_fine_tuning_takes_over_a_pretrained_encoder_and_seeds_are_told(folder, tfpt, tmp_path):
    store = tmp_path / "store"
    documents = [tuple(" ".join(WORDS[i : i + 6]) for i in range(0, 24, 6))] * 4
    pipelines.write_store(documents, tiny_bert.TOKENIZER, store)
    pretraining = {"data.store": store, "training.batch_size": 8, "training.total_steps": 2}
    pretraining |= {"training.warmup_steps": 1, "training.steps_per_epoch": 2}
    settings = config.override(bert.config(), sets({**SIZE, **pretraining}))
    training.pretrain(bert, settings, tmp_path / "bert", verbose=0)
    files = {"data.name": folder / "train.conll", "data.validation": folder / "dev.conll"}
    files |= {"data.test": folder / "test.conll", "data.sequence_length": 16}
    files |= ONE_EPOCH
    assigned = [word for one in sets(files) for word in ("--set", one)]
    start = ("--from", tmp_path / "bert", "--seeds", 2, "--out", tmp_path / "runs")
    printed = tfpt("finetune", "tag", *start, *assigned)
    record = json.loads((tmp_path / "runs" / "seeds.json").read_text())
    assert f"{record['f1']['mean']:.4f}" in printed
    assert set(record) == {"seeds", "f1", "precision", "recall", "word_accuracy", "loss"}
    begun = training.open_run(tmp_path / "runs" / "seed-1")
    assert begun.settings["model"]["hidden_dim"] == 32
    # Nothing reads a pooler here, so there is none; what begins with the run does without.
    assert (settings.model.has_pooler, begun.settings["model"]["has_pooler"]) == (True, False)
    rows = "".join(f"{word} {word},{n % 2}\n" for n, word in enumerate(WORDS[:20]))
    (tmp_path / "rows").mkdir()
    for name in ("train", "dev"):
        (tmp_path / "rows" / f"{name}.csv").write_text(f"text,label\n{rows}")
    numbers = {"data.name": tmp_path / "rows", "data.sequence_length": 16}
    assigned = [word for one in sets({**numbers, **ONE_EPOCH}) for word in ("--set", one)]
    tfpt("finetune", "classify", "--from", begun.path, "--out", tmp_path / "again", *assigned)
    result = CliRunner().invoke(
        main, ["convert", str(begun.path), "--to", "keras-hub", "--out", str(tmp_path / "hub")]
    )
    assert result.exit_code == 1
    assert "num_segments=2, norm_epsilon=1e-12, has_pooler=False" in result.output


@pytest.mark.parametrize(
    ("content", "changes", "sentence"),
    [
        ("a\tO\nb\n", {}, "train.conll:2: columns: 1, where other lines have 2: 'b'."),
        ("a\tNOUN\n", {}, "train.conll:1: the tag 'NOUN' is none of BIO or BIOES."),
        ("", {}, "train.conll: there is no sentence in it."),
        ("a\tB-x\n", {"data.tag": "7"}, "there is no column 7 for the tag; its lines have 2."),
        ("a\tO\nb\tB-y\n", {}, "the label 'B-x' of the validation rows never occurs in the"),
        ("a\tB-x\n", {"data.name": ""}, "`data.name` is not set: a folder with train"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_no_folder(
    tmp_path, folder, content, changes, sentence
):
    (tmp_path / "train.conll").write_text(content)
    (tmp_path / "dev.conll").write_text("a\tB-x\n")
    chosen = {**numbers(folder), "data.name": tmp_path, **changes}
    assigned = [word for one in sets(chosen) for word in ("--set", one)]
    result = CliRunner().invoke(main, ["finetune", "tag", *assigned, "--out", str(tmp_path / "x")])
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("Error: ")
    assert sentence in line
    assert not (tmp_path / "x").exists()


def test_rows_must_fit_the_positions_of_a_model():
    with pytest.raises(ValueError, match=r"`data.sequence_length` is 17, .* 16 tokens"):
        config.override(tag.config(), sets({**SIZE, "data.sequence_length": 17}))


def test_dropout_of_fine_tuning_is_its_own(folder):
    unheard = config.override(tag.config(), sets(numbers(folder, **{"model.dropout_rate": 0.2})))
    with pytest.warns(UserWarning, match="set `dropout_rate`"):
        tag.model(unheard, tiny_bert.TOKENIZER, ["O", "B-x"])
