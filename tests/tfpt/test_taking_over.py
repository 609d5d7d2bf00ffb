"""Pre-training that begins with the weights of a run."""

import numpy as np
import pytest
import tensorflow as tf
import tiny_bert
from click.testing import CliRunner
from run_folders import a_run

from tfpt import models, objectives, pipelines, state_files
from tfpt.cli import main
from tfpt.model_state import weights
from tfpt.taking_over import take_over

BEFORE = pipelines.WordPiece([*tiny_bert.TOKENIZER.vocabulary, "##s", "##ful"])


def pretrainer(vocabulary_size, *, seed=7, **changes):
    tf.keras.utils.set_random_seed(seed)
    encoder = models.encoder(tiny_bert.size(**changes), vocabulary_size)
    masked_lm = objectives.masked_lm(encoder)
    return objectives.model(encoder, masked_lm, objectives.next_sentence(encoder))


@pytest.fixture
def source(tmp_path):
    """A run of random weights."""
    model = pretrainer(BEFORE.vocabulary_size, seed=1)
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape))
    run = a_run(tmp_path / "run", tokenizer=BEFORE)
    state = {"model": weights(model)}
    state_files.write(state_files.snapshot(state), run.path / "best", 0, num_kept=1)
    return run, tiny_bert.values(model)


def test_the_same_vocabulary_takes_every_weight(source):
    run, expected = source
    model = pretrainer(BEFORE.vocabulary_size)
    assert take_over(run, model, BEFORE) == ([], 0)
    assert tiny_bert.largest_difference(expected, tiny_bert.values(model)) == 0


def test_entries_keep_their_weights_and_new_ones_have_the_mean_of_their_pieces(source):
    run, before = source
    entries = list(BEFORE.vocabulary)
    entries[5], entries[6] = entries[6], entries[5]  # ids may move
    after = pipelines.WordPiece([*entries, "xyz", "word3ful"])
    model = pretrainer(after.vocabulary_size)
    drawn = tiny_bert.values(model)
    pieces = [BEFORE.vocabulary.index(piece) for piece in ("word3", "##ful")]
    assert take_over(run, model, after) == ([], 2)
    found = tiny_bert.values(model)
    for path in ("token_embedding/embeddings", "masked_lm_head/bias"):
        np.testing.assert_array_equal(found[path][5], before[path][6])
        np.testing.assert_array_equal(found[path][6], before[path][5])
        np.testing.assert_array_equal(found[path][7:-2], before[path][7:])
        np.testing.assert_array_equal(found[path][-2], drawn[path][-2])  # nothing of it was known
        np.testing.assert_allclose(found[path][-1], before[path][pieces].mean(axis=0), atol=1e-6)
    same = before.keys() - {"token_embedding/embeddings", "masked_lm_head/bias"}
    assert all((found[path] == before[path]).all() for path in same)


def test_heads_that_the_run_does_not_have_stay_as_drawn(source, tmp_path):
    run, _ = source
    tf.keras.utils.set_random_seed(3)
    encoder = models.encoder(tiny_bert.size(), BEFORE.vocabulary_size)
    model = objectives.model(encoder, objectives.sentence_order(encoder))
    before = tiny_bert.values(model)
    taken = take_over(run, model, BEFORE)
    assert taken.drawn == ["sentence_order_head/kernel", "sentence_order_head/bias"]
    for path in taken.drawn:
        np.testing.assert_array_equal(tiny_bert.values(model)[path], before[path])


def test_another_size_is_refused_and_changes_nothing(source):
    run, _ = source
    model = pretrainer(BEFORE.vocabulary_size, intermediate_dim=48)
    before = tiny_bert.values(model)
    with pytest.raises(
        ValueError, match=r"layer_0/intermediate/kernel is \(16, \d+\), in the model"
    ):
        take_over(run, model, BEFORE)
    assert tiny_bert.largest_difference(before, tiny_bert.values(model)) == 0


def test_a_vocabulary_of_another_kind_is_refused(source):
    run, _ = source
    bytes_ = pipelines.train_byte_pair([["a cat sat on a mat"] * 3], 265)
    with pytest.raises(ValueError, match=r"\(wordpiece\) is another than that of the data \(byte"):
        take_over(run, pretrainer(265), bytes_)


TEXTS = "the kinase binds the receptor\nit is blocked\n\nthe receptor is a kinase too\nit binds\n\n"


def command(*words):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_pre_training_goes_on_in_a_domain_with_new_entries(tmp_path, monkeypatch):
    """From a run on one corpus to another: vocabulary, store and weights by the commands."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.txt").write_text(
        "the cat sat on the mat\nit is warm\n\na cat purred\nit sat\n\n" * 9
    )
    (tmp_path / "new.txt").write_text(TEXTS * 9)
    sizes = {"num_layers": 1, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32}
    chosen = [f"model.{name}={value}" for name, value in sizes.items()]
    common = ["training.total_steps=2", "training.steps_per_epoch=1", "training.batch_size=4"]
    common += ["training.warmup_steps=0", "data.sequence_length=24"]

    def given(*assignments):
        return [word for one in assignments for word in ("--set", one)]

    command("vocabulary", "old.txt", "new.txt", "--size", 60, "--out", "old/vocab.txt")
    command("store", "old.txt", "--vocabulary", "old", "--out", "stores/old")
    command("pretrain", "bert", "--out", "a", *given(*common, *chosen, "data.store=stores/old"))
    command("vocabulary", "new.txt", "--extend", "old", "--size", 62, "--out", "new/vocab.txt")
    command("store", "new.txt", "--vocabulary", "new", "--out", "stores/new")
    on_new = given(*common, "data.store=stores/new", "training.learning_rate=1e-12")
    told = command("pretrain", "bert", "--from", "a", "--out", "b", *on_new)
    assert "Not in a: 2 new entries, each the mean of its pieces." in told
    told = command("pretrain", "bert", "--from", "a", *on_new, "--dry-run")
    assert '"hidden_dim": 16' in told
    (tmp_path / "a").rename(tmp_path / "gone")
    command("pretrain", "bert", "--from", "a", "--out", "b", *on_new)  # was complete
    (tmp_path / "gone").rename(tmp_path / "a")
    before, after = (
        tf.train.load_checkpoint(pipelines_run.weights_path())
        for pipelines_run in map(opened, ("a", "b"))
    )
    name = "model/token_embedding/embeddings"
    one, other = before.get_tensor(name), after.get_tensor(name)
    assert other.shape == (one.shape[0] + 2, 16)
    np.testing.assert_allclose(other[:-2], one, atol=1e-6)


def opened(path):
    from tfpt.checkpoints import open_run

    return open_run(path)
