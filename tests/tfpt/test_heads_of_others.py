"""Heads for tags, answers, scores and several labels, from Hugging Face and back."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import safetensors.numpy
import tiny_bert
from click.testing import CliRunner
from test_weights import BOUND, CLASSIFIERS, folder, inputs_of, tensors_of

from tfpt import checkpoints, config, importing, models, objectives, recipe_names, weights
from tfpt.cli import main

ENCODERS = ("bert", "roberta", "electra", "distilbert")
TAGS = ("B-loc", "O", "I-loc", "B-per", "I-per")  # in no order of ours
OF_TOKENS = {"tag": ("ForTokenClassification", "classifier", 5)}
OF_TOKENS["answer"] = ("ForQuestionAnswering", "qa_outputs", 2)


def rewritten(tmp_path, name, change, **numbers):
    """A fixture with other heads, as one file of tensors."""
    copied = tmp_path / "theirs"
    shutil.copytree(folder(name), copied)
    tensors = tensors_of(copied)
    for path in copied.glob("model*"):
        path.unlink()
    tensors = change(tensors)
    safetensors.numpy.save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    file = copied / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **numbers}))
    return copied


def with_head_of_tokens(tmp_path, name, recipe):
    """Of one of the ENCODERS, and what torch's states give through the head."""
    architecture, layer, number = OF_TOKENS[recipe]
    random = np.random.default_rng(3)
    kernel, bias = random.normal(size=(number, 16)), random.normal(size=number)
    head = {f"{layer}.weight": kernel.astype("float32"), f"{layer}.bias": bias.astype("float32")}

    def change(tensors):
        kept = {n: x for n, x in tensors.items() if n.startswith(f"{name}.") and "pool" not in n}
        return kept | head

    stem = json.loads((folder(name) / "config.json").read_text())["architectures"][0]
    numbers = {"architectures": [re.sub("For.*", "", stem) + architecture]}
    if recipe == "tag":
        numbers["id2label"] = {str(number): tag for number, tag in enumerate(TAGS)}
    copied = rewritten(tmp_path, name, change, **numbers)
    expected = safetensors.numpy.load_file(folder(name) / "expected.safetensors")
    return copied, expected, expected["states"] @ kernel.T + bias


def with_head_of_texts(tmp_path, name, recipe):
    """Of one of the CLASSIFIERS with the same numbers for another purpose, and torch's logits."""
    expected = safetensors.numpy.load_file(folder(name) / "expected.safetensors")
    if recipe == "label":
        numbers = {"problem_type": "multi_label_classification"}
        return rewritten(tmp_path, name, dict, **numbers), expected, expected["logits"]

    def first_alone(tensors):
        last = [n for n in tensors if n.startswith("classifier.") and len(tensors[n]) == 3]
        assert len(last) == 2
        return {n: x[:1] if n in last else x for n, x in tensors.items()}

    one = {"id2label": {"0": "LABEL_0"}}
    return rewritten(tmp_path, name, first_alone, **one), expected, expected["logits"][:, 0]


CASES = [
    *((with_head_of_tokens, name, recipe) for name in ENCODERS for recipe in ("tag", "answer")),
    *((with_head_of_texts, name, recipe) for name in CLASSIFIERS for recipe in ("label", "score")),
]


def model_of(path):
    run = checkpoints.open_run(path)
    recipe = recipe_names.of_run(path)
    settings = config.from_dict(recipe.config(), run.settings)
    labels = run.label_names
    return checkpoints.load(path, build=lambda run: recipe.model(settings, run.tokenizer, labels))


@pytest.mark.parametrize(("made", "name", "recipe"), CASES)
def test_a_head_becomes_a_run_with_the_logits_of_torch_and_comes_back(tmp_path, made, name, recipe):
    theirs, expected, logits = made(tmp_path, name, recipe)
    told = run("import", theirs, "--out", tmp_path / "run")
    assert "drawn at random" not in told
    opened = checkpoints.open_run(tmp_path / "run")
    assert opened.recipe == f"tfpt.recipes.{recipe}"
    names = {"tag": TAGS, "label": ("no", "so", "yes")}
    assert opened.label_names == names.get(recipe, ())
    model = model_of(tmp_path / "run")
    inputs, _ = inputs_of(expected)
    if recipe == "answer":
        inputs["answer_mask"] = np.ones_like(inputs["padding_mask"])
        logits = logits.transpose(0, 2, 1)
    is_token = inputs["padding_mask"] > 0
    (found,) = model(inputs).values()
    found = found.numpy()
    if recipe in OF_TOKENS:
        axes = (0, 2, 1) if recipe == "answer" else (0, 1, 2)
        found, logits = found.transpose(axes)[is_token], logits.transpose(axes)[is_token]
    np.testing.assert_allclose(found, logits, atol=BOUND)

    run("convert", tmp_path / "run", "--to", "hugging-face", "--out", tmp_path / "ours")
    before, after = tensors_of(theirs), tensors_of(tmp_path / "ours")
    assert before.keys() == after.keys()
    for key, value in after.items():
        whole = before[key]
        if key == "roberta.embeddings.position_embeddings.weight":
            value, whole = value[2:], whole[2:]  # rows of no position
        if name.startswith("roberta") and len(whole) == 300:
            whole = whole[: len(value)]  # and those of no entry
        np.testing.assert_array_equal(value, whole, err_msg=key)
    there, here = (
        json.loads((path / "config.json").read_text()) for path in (theirs, tmp_path / "ours")
    )
    wanted = "regression" if recipe == "score" else there.get("problem_type")
    assert here.get("problem_type") == wanted
    assert here["architectures"] == there["architectures"]
    assert here.get("id2label") == there.get("id2label")
    assert weights.read(tmp_path / "ours").recipe == recipe


def run(*words):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("recipe", ["tag", "answer"])
def test_a_pooler_that_a_head_of_tokens_does_not_read_is_passed_over(tmp_path, recipe):
    """As in checkpoints that older versions wrote."""
    theirs, _, _ = with_head_of_tokens(tmp_path, "bert", recipe)
    tensors = tensors_of(theirs)
    pooler = {"weight": np.ones((16, 16), np.float32), "bias": np.ones(16, np.float32)}
    tensors |= {f"bert.pooler.dense.{name}": value for name, value in pooler.items()}
    safetensors.numpy.save_file(tensors, theirs / "model.safetensors", metadata={"format": "pt"})
    checkpoint = weights.read(theirs)
    assert (checkpoint.recipe, checkpoint.size.has_pooler) == (recipe, False)


def test_tags_that_are_none_are_refused(tmp_path):
    theirs, _, _ = with_head_of_tokens(tmp_path, "bert", "tag")
    file = theirs / "config.json"
    numbers = json.loads(file.read_text())
    numbers["id2label"]["3"] = "person"
    file.write_text(json.dumps(numbers))
    told = "id2label: the tag 'person' is none of BIO or BIOES.* To take the encoder alone"
    with pytest.raises(ValueError, match=told):
        weights.read(theirs)
    assert weights.read(theirs, heads=False).groups == {"segments"}


def test_the_units_of_a_score_are_those_of_its_head_there(tmp_path):
    checkpoint = weights.read(folder("bert"))
    encoder = models.encoder(checkpoint.size, checkpoint.tokenizer.vocabulary_size)
    model = objectives.model(encoder, objectives.regression(encoder, mean=3.0, deviation=2.0))
    arguments = {"size": checkpoint.size, "tokenizer": checkpoint.tokenizer}
    written = weights.write(tmp_path / "ours", model, to="hugging-face", **arguments)
    again = weights.read(written)
    plain = objectives.model(
        other := models.encoder(again.size, again.tokenizer.vocabulary_size),
        objectives.regression(other),
    )
    assert again.assign(plain) == []
    inputs, _ = inputs_of(safetensors.numpy.load_file(folder("bert") / "expected.safetensors"))
    expected, found = (one(inputs)["regression"].numpy() for one in (model, plain))
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(found, expected, atol=BOUND)


def test_a_tagger_and_an_answerer_of_others_are_exported(tmp_path):
    for recipe in OF_TOKENS:
        theirs, _, _ = with_head_of_tokens(tmp_path / recipe, "bert", recipe)
        imported = importing.import_run(
            recipe_names.find(recipe), weights.read(theirs), tmp_path / recipe / "run"
        )
        assert imported.drawn == []
        run("export", imported.run.path, "--out", tmp_path / recipe / "models" / "it")
    assert tiny_bert.values(model_of(tmp_path / "tag" / "run"))


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert"])
def test_an_encoder_of_a_recipe_without_a_pooler_is_of_its_family(tmp_path, name):
    """As after `tfpt finetune embed`."""
    checkpoint = weights.read(folder(name))
    size = dataclasses.replace(checkpoint.size, has_pooler=False)
    encoder = models.encoder(size, checkpoint.tokenizer.vocabulary_size)
    arguments = {"size": size, "tokenizer": checkpoint.tokenizer}
    written = weights.write(tmp_path / "out", encoder, to="hugging-face", **arguments)
    assert weights.read(written).family == name
    assert not any("pooler" in key for key in tensors_of(written))
