"""What a user does wrong gives one sentence and an exit code, and leaves nothing half-written."""

import json
import re
import resource
import shutil
import socket
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner

from tfpt import serving
from tfpt.cli import main

SUBJECTS = ("film", "play", "song", "plot", "cast", "scene")
GOOD, BAD = ("gripping", "funny", "moving", "bright"), ("dull", "long", "clumsy", "grey")
SIZE = {"num_layers": 1, "hidden_dim": 16, "num_heads": 2, "intermediate_dim": 32}


def sets(numbers):
    return [word for name, value in numbers.items() for word in ("--set", f"{name}={value}")]


PRETRAINING = [
    *sets({f"model.{name}": value for name, value in SIZE.items()}),
    *sets({"data.sequence_length": 16, "training.batch_size": 2, "training.total_steps": 2}),
    *sets({"training.warmup_steps": 1, "training.steps_per_epoch": 2}),
]
FINETUNING = sets({"data.sequence_length": 16, "training.epochs": 1})


def write_rows(folder, **splits):
    folder.mkdir()
    for split, rows in splits.items():
        lines = "".join(f"{text}\t{label}\n" for text, label in rows)
        (folder / f"{split}.tsv").write_text(f"text\tlabel\n{lines}", encoding="utf-8")
    return folder


def reviews():
    texts = [(word, subject) for subject in SUBJECTS for word in (*GOOD, *BAD)]
    return [(f"a {word} {subject}", "good" if word in GOOD else "bad") for word, subject in texts]


@pytest.fixture(scope="module")
def given(tmp_path_factory, tfpt):
    """A folder with everything in order: texts, vocabulary, store, runs, model."""
    folder = tmp_path_factory.mktemp("given")
    sentences = [text for text, _ in reviews()]
    documents = ["\n".join(sentences[i : i + 4]) + "\n" for i in range(0, len(sentences), 4)]
    (folder / "texts.txt").write_text("\n".join(documents), encoding="utf-8")
    write_rows(folder / "reviews", train=reviews(), validation=reviews()[:8], test=reviews()[4:12])
    for size in (60, 50):
        tfpt("vocabulary", folder / "texts.txt", "--size", size, "--out", folder / f"v{size}.txt")
        vocabulary = ("--vocabulary", folder / f"v{size}.txt")
        tfpt("store", folder / "texts.txt", *vocabulary, "--out", folder / f"store{size}")
    store = f"data.store={folder / 'store60'}"
    tfpt("pretrain", "bert", *PRETRAINING, "--set", store, "--out", folder / "bert")
    data = ("--set", f"data.name={folder / 'reviews'}")
    start = ("--from", folder / "bert")
    tfpt("finetune", "classify", *start, *FINETUNING, *data, "--out", folder / "classifier")
    tfpt("export", folder / "classifier", "--out", folder / "models" / "reviews")
    return folder


def listing(folder):
    """Every file below a folder and what it holds."""
    paths = sorted(folder.rglob("*"))
    return {path: sha256(path.read_bytes()).digest() if path.is_file() else "" for path in paths}


@pytest.fixture
def refused(given, tmp_path):
    """A function that runs a command which must fail, and gives the sentence it printed."""

    def run(*arguments: object) -> str:
        before = listing(given) | listing(tmp_path)
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert listing(given) | listing(tmp_path) == before
        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit), result.exception
        (line,) = result.output.splitlines()
        assert line.startswith("Error: ")
        assert line.endswith((".", "?"))
        return line.removeprefix("Error: ")

    return run


@contextmanager
def full_disk(room: int):
    """No file can grow beyond `room` bytes: the same calls fail in the same places."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_no_file_matches(refused, given, tmp_path):
    nothing, out = tmp_path / "no*.txt", ("--out", tmp_path / "out")
    sentence = f"No file matches {nothing}. Check the path; quote a glob in the shell."
    assert refused("vocabulary", nothing, *out) == sentence
    assert refused("store", nothing, "--vocabulary", given / "v60.txt", *out) == sentence
    start = ("finetune", "classify", "--from", given / "bert", *FINETUNING)
    sentence = refused(*start, "--set", f"data.name={tmp_path / 'no*.tsv'}", *out)
    assert f"no file or folder {tmp_path / 'no*.tsv'}" in sentence


def test_what_is_named_is_not_there(refused, given, tmp_path):
    out = ("--out", tmp_path / "out")
    missing = tmp_path / "missing"
    texts = given / "texts.txt"
    assert f"No vocabulary at {missing}" in refused("store", texts, "--vocabulary", missing, *out)
    pretraining = ("pretrain", "bert", *PRETRAINING)
    assert "data.store=FOLDER" in refused(*pretraining, *out)
    sentence = refused(*pretraining, "--set", f"data.store={missing}", *out)
    assert f"There is no folder {missing}; a token store is needed." in sentence
    there_is_none = f"There is no folder {missing}; a run folder is needed."
    assert there_is_none in refused("finetune", "classify", "--from", missing, *out)
    assert there_is_none in refused("evaluate", missing)
    assert there_is_none in refused("export", missing, *out)
    assert f"There is no folder {missing}" in refused("serve", missing)


def test_a_file_is_not_utf8(refused, given, tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("a good film\nun café\n".encode("latin-1"))
    out = ("--out", tmp_path / "out")
    for command in (("vocabulary",), ("store", "--vocabulary", given / "v60.txt")):
        sentence = refused(*command, path, *out)
        assert f"{path}:2: the byte 0xe9 at offset 18 is not utf-8" in sentence
    rows = write_rows(tmp_path / "rows", train=reviews())
    with open(rows / "train.tsv", "ab") as file:
        file.write(b"caf\xe9\tgood\n")
    start = ("finetune", "classify", "--from", given / "bert", *FINETUNING)
    sentence = refused(*start, "--set", f"data.name={rows}", *out)
    assert f"{rows / 'train.tsv'}:{len(reviews()) + 2}: the byte 0xe9 at offset " in sentence


def test_the_corpus_is_empty(refused, given, tmp_path):
    path = tmp_path / "empty.txt"
    path.write_text("\n\n \n")
    out = ("--out", tmp_path / "out")
    assert "There is no text to learn a vocabulary from" in refused("vocabulary", path, *out)
    sentence = refused("store", path, "--vocabulary", given / "v60.txt", *out)
    assert sentence == "The corpus is empty: no document holds a token. Check the sources."


def test_the_vocabulary_is_larger_than_the_corpus_can_give(refused, given, tmp_path):
    texts, out = given / "texts.txt", ("--out", tmp_path / "vocab.txt")
    sentence = refused("vocabulary", texts, "--size", 5_000, *out)
    (most,) = re.findall(r"Lower --size to at most (\d+)", sentence)
    assert "--size 5,000 was asked for" in sentence
    assert refused("vocabulary", texts, "--size", 3, *out).startswith("--size counts")
    result = CliRunner().invoke(main, ["vocabulary", str(texts), "--size", most, *map(str, out)])
    assert result.output.endswith(f"{out[1]}: {most} entries\n")


def test_nothing_is_overwritten(refused, given):
    out = ("--out", given / "v60.txt")
    assert refused("vocabulary", given / "texts.txt", *out).startswith(
        f"{given / 'v60.txt'} exists"
    )
    command = ("store", given / "texts.txt", "--vocabulary", given / "v60.txt")
    assert "never overwritten" in refused(*command, "--out", given / "store50")


def test_a_store_is_of_another_vocabulary(refused, given, tmp_path):
    stores = {"data.store": given / "store60", "data.validation_store": given / "store50"}
    sentence = refused("pretrain", "bert", *PRETRAINING, *sets(stores), "--out", tmp_path / "out")
    assert f"{given / 'store50'} was written with another vocabulary" in sentence
    stores = {"data.store": given / "store50"}
    sentence = refused("pretrain", "bert", *PRETRAINING, *sets(stores), "--out", given / "bert")
    assert f"{given / 'bert'} holds a run that cannot be gone on with" in sentence
    assert "the vocabulary is another" in sentence


def test_records_cannot_be_written_or_read(refused, given, tmp_path, tfpt):
    store = ("--set", f"data.store={given / 'store60'}")
    records, out = ("records", "bert", *PRETRAINING, *store, "--batches", 3), tmp_path / "out"
    sentence = refused("records", "classify", "--batches", 3, "--out", out)
    assert sentence == "classify is a recipe for `tfpt finetune`, not for `tfpt records`."
    assert "from 1 to the number of rows" in refused(*records, "--shards", 9, "--out", out)
    assert "exists already" in refused(*records, "--out", given / "store60")
    with full_disk(200):
        assert refused(*records, "--out", out) == f"{out} could not be written: File too large."

    folder = tmp_path / "rows"
    tfpt(*records, "--shards", 2, "--out", folder)
    there = ("--set", f"data.records={folder}")
    pretraining = ("pretrain", "bert", *PRETRAINING, *there, "--out", out)
    assert "are both set, but a run trains on one" in refused(*pretraining, *store)
    for change in ("drawing.masking.rate=0.3", "drawing.pairing=single", "data.sequence_length=8"):
        sentence = refused(*pretraining, "--set", change)
        assert sentence.startswith(f"The records {folder} were drawn in another way: ")
    validation = ("--set", f"data.validation_store={given / 'store50'}")
    assert "store50 was written with another vocabulary" in refused(*pretraining, *validation)
    nothing = ("--set", f"data.records={tmp_path / 'nothing'}")
    assert "nothing holds no records" in refused("pretrain", "bert", *nothing, "--out", out)
    shard = folder / "rows-00000-of-00002.tfrecord.gz"
    shard.write_bytes(shard.read_bytes()[::-1])
    sentence = refused("show-batch", "bert", *PRETRAINING, *there)
    assert sentence.startswith(f"{shard} is damaged")


def test_a_run_exists_with_other_settings(refused, given):
    store = ("--set", f"data.store={given / 'store60'}", "--set", "training.learning_rate=0.5")
    sentence = refused("pretrain", "bert", *PRETRAINING, *store, "--out", given / "bert")
    assert "training.learning_rate was 0.0001 and is now 0.5" in sentence
    data = ("--set", f"data.name={given / 'reviews'}", "--set", "seed=3")
    start = ("finetune", "classify", "--from", given / "bert", *FINETUNING)
    sentence = refused(*start, *data, "--out", given / "classifier")
    assert "seed was 0 and is now 3" in sentence


def test_a_folder_or_file_is_in_the_place_of_a_run(refused, given, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("precious")
    (tmp_path / "file").write_text("precious")
    store = ("--set", f"data.store={given / 'store60'}")
    for name in ("thesis", "file"):
        sentence = refused("pretrain", "bert", *PRETRAINING, *store, "--out", tmp_path / name)
        assert sentence.startswith(f"{tmp_path / name} exists and holds no run")


def test_a_run_cannot_do_what_it_is_asked_for(refused, given, tmp_path):
    assert (
        "no validation store to evaluate on. Pre-train with --set data.validation_store="
        in refused("evaluate", given / "bert")
    )
    sentence = refused("export", given / "bert", "--out", tmp_path / "models")
    assert "Fine-tune it first" in sentence
    begun = shutil.copytree(given / "bert", tmp_path / "begun")
    shutil.rmtree(begun / "checkpoints")
    data = ("--set", f"data.name={given / 'reviews'}")
    start = ("finetune", "classify", *FINETUNING, "--from", begun)
    assert f"{begun} holds no checkpoint yet" in refused(*start, *data, "--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("model.num_layer=4", "There is no field `model.num_layer`. Did you mean `model.n"),
        ("num_layers=4", "There is no field `num_layers`. Did you mean `model.num_layers`?"),
        ("model.num_layers=four", "`model.num_layers` takes a whole number; received 'four'."),
        ("training.learning_rate=fast", "learning_rate` takes a number; received 'fast'."),
        ("training.learning_rate=nan", "learning_rate` takes a number; received 'nan'."),
        ("model.num_heads=7", "num_heads=7"),
        ("training.batch_size=0", "`training.batch_size` must be a positive number; received"),
        ("drawing.masking.rate=15", "`drawing.masking.rate` must be a share of tokens, in (0, 1)"),
        ("data.sequence_length=4096", "but the model has positions for 512 tokens"),
        ("model=3", "`model` is a group of fields; set one of model.num_layers, "),
        ("model.num_layers", "Write an override as name=value; received 'model.num_layers'."),
    ],
)
def test_an_override_is_wrong(refused, given, tmp_path, assignment, sentence):
    command = ("pretrain", "bert", "--set", assignment, "--out", tmp_path / "out")
    assert sentence in refused(*command)
    assert sentence in refused("show", "bert", "--set", assignment)


@pytest.mark.parametrize("name", ["brt", "json", "../bert", "bert.py", ".bert", ""])
def test_there_is_no_such_recipe(refused, name):
    assert repr(name) in refused("show", name)


def test_a_recipe_is_for_the_other_command(refused, given, tmp_path):
    out = ("--out", tmp_path / "out")
    sentence = "classify is a recipe for `tfpt finetune`, not for `tfpt pretrain`."
    assert refused("pretrain", "classify", *out) == sentence
    sentence = "bert is a recipe for `tfpt pretrain`, not for `tfpt finetune`."
    assert refused("finetune", "bert", "--from", given / "bert", *out) == sentence


def test_the_test_set_has_a_label_that_training_never_saw(refused, given, tmp_path):
    rows = write_rows(
        tmp_path / "rows", train=reviews(), test=[("a fine film", "good"), ("a play", "mixed")]
    )
    start = ("finetune", "classify", "--from", given / "bert", *FINETUNING)
    sentence = refused(*start, "--set", f"data.name={rows}", "--out", tmp_path / "out")
    assert sentence.startswith(f"{rows / 'test.tsv'}:3: the label 'mixed' of the test rows never")


def test_a_column_is_missing(refused, given, tmp_path):
    start = ("finetune", "classify", "--from", given / "bert", *FINETUNING)
    data = sets({"data.name": given / "reviews", "data.label": "stars"})
    sentence = refused(*start, *data, "--out", tmp_path / "out")
    assert ".tsv: no column `stars`; the header has 'text', 'label'." in sentence


@pytest.mark.parametrize("interface", ["rest", "grpc"])
def test_a_port_is_in_use(refused, given, interface):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"rest": 0, "grpc": 0, interface: taken.getsockname()[1]}
        options = [word for name in ports for word in (f"--{name}-port", ports[name])]
        sentence = refused("serve", given / "models" / "reviews", *options)
    assert f"Port {ports[interface]} of 127.0.0.1 is in use" in sentence
    assert f"--{interface}-port" in sentence


def test_two_models_share_a_name(refused, given):
    model = given / "models" / "reviews"
    assert "share a name" in refused("serve", model, model)


@pytest.mark.parametrize("protocol", [(), ("--grpc",)], ids=["rest", "grpc"])
def test_no_server_answers(refused, protocol):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    assert f"server answers at {address}" in refused("predict", *protocol, address, "m", "a film")


def test_a_request_is_wrong_and_the_server_lives_on(refused, given, tfpt):
    models = {"reviews": given / "models" / "reviews"}
    with serving.Server(models, rest_port=0, grpc_port=0) as server:
        for asked in ((server.address,), ("--grpc", server.grpc_address)):
            assert "This server has `reviews`" in refused("predict", *asked, "stars", "a film")
            sentence = refused("predict", *asked, "reviews", "--version", 7, "a film")
            assert "`reviews` in version 1" in sentence
            sentence = refused("predict", *asked, "reviews", "--pair", "a film", "a play")
            assert sentence.endswith("reviews takes single texts: leave out --pair.")
            answer = json.loads(tfpt("predict", *asked, "reviews", "a dull film"))
            assert answer["label"] in ("good", "bad")
        # The ports mixed up.
        for asked in (("--grpc", server.address), (server.grpc_address,)):
            sentence = refused("predict", *asked, "reviews", "a film")
            assert sentence.isprintable()


def test_the_disk_is_full(refused, given, tmp_path):
    texts = tmp_path / "texts.txt"
    words = [f"{one}{two} {two}{one}" for one in GOOD for two in (*BAD, *SUBJECTS)]
    texts.write_text("\n\n".join(" ".join(words) for _ in range(100)))
    with full_disk(1_000):
        out = tmp_path / "vocab.txt"
        sentence = refused("vocabulary", texts, "--size", 150, "--out", out)
        assert sentence == f"{out} could not be written: File too large."
    with full_disk(10_000):
        out = tmp_path / "store"
        sentence = refused("store", texts, "--vocabulary", given / "v60.txt", "--out", out)
        assert sentence == f"{out} could not be written: File too large."
        out = tmp_path / "reviews"
        sentence = refused("export", given / "classifier", "--out", out)
        assert sentence.startswith(f"{out} could not be written: ")
        sentence = refused("export", given / "classifier", "--out", given / "models" / "reviews")
        assert sentence.startswith(f"{given / 'models' / 'reviews'} could not be written: ")


def test_the_disk_is_full_in_training_and_the_run_can_be_gone_on_with(given, tmp_path, tfpt):
    run = tmp_path / "run"
    store = ("--set", f"data.store={given / 'store60'}")
    command = ("pretrain", "bert", *PRETRAINING, *store, "--out", run)
    with full_disk(20_000):
        result = CliRunner().invoke(main, [str(argument) for argument in command])
    assert result.exit_code == 1
    devices, line = result.output.splitlines()
    assert devices.startswith("One device")
    assert line.startswith(f"Error: No checkpoint could be written to {run / 'checkpoints'}: ")
    assert not list(Path(run, "checkpoints").iterdir())
    assert tfpt(*command).splitlines()[-1] == str(run)
    assert Path(run, "checkpoints", "step-00000002").is_dir()


def test_what_comes_from_the_pre_trained_run_is_not_set_again(refused, given, tmp_path):
    command = ("finetune", "classify", "--from", given / "bert", "--out", tmp_path / "out")
    labelled = ("--set", f"data.name={given / 'texts'}")
    for assignment in ("model.num_layers=4", "start=runs/other"):
        sentence = refused(*command, *labelled, "--set", assignment)
        assert f"comes from --from {given / 'bert'}; leave out --set {assignment}." in sentence
    sentence = refused(*command, *labelled, "--set", "data.vocabulary=nofile.txt")
    assert "data.vocabulary is for training from scratch" in sentence


def test_errors_name_options_not_arguments(refused, given, tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("caf\u00e9\n".encode("latin-1"))
    sentence = refused("vocabulary", path, "--out", tmp_path / "vocab.txt")
    assert "--encoding latin-1" in sentence
    path.write_text("a few words only\n")
    sentence = refused("vocabulary", path, "--size", 5000, "--out", tmp_path / "vocab.txt")
    assert "--size" in sentence
    assert "vocabulary_size" not in sentence
    assert "min_frequency" not in sentence
