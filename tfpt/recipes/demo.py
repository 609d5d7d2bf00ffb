"""The whole path on text that every machine with this stack has: `tfpt demo`.

The docstrings of the standard library and of the installed packages are collected, a vocabulary is
trained, a token store written, a small BERT pre-trained on it and fine-tuned to tell which library
a docstring comes from, evaluated, exported, served and asked. Everything stays in one folder, where
the commands that are printed can be repeated.
"""

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tfpt import (
    callbacks,
    config,
    console,
    evaluation,
    export,
    models,
    pipelines,
    serving,
    training,
)
from tfpt.recipes import bert, classify

SIZE = models.Model(
    num_layers=2, hidden_dim=128, num_heads=2, intermediate_dim=512, max_sequence_length=64
)
VOCABULARY_SIZE = 8_000
SEQUENCE_LENGTH = 64
# Least characters of text: less is no corpus to learn from.
LEAST_CHARACTERS = 8_000_000
NUM_LIBRARIES = 6
# Rows of a library in each split, beyond which the others would hardly be seen.
MOST_ROWS = {"train": 1_500, "validation": 200, "test": 300}
SPLITS = ("train", "validation", "test")


def run(out: Path) -> dict[str, float]:
    """Go the whole path, and print what happens and what comes out.

    Args:
        out: The folder to work in; where it exists, the next free of OUT-2, OUT-3, ... is taken.

    Returns:
        The measures of the report.

    Raises:
        ValueError: This machine has less than 8 million characters of docstrings.
    """
    out = _free_folder(out)
    console.out.print(f"[bold]tfpt demo[/bold]: everything is written to {out}/")
    docstrings = _collect()
    corpus = _write_corpus(docstrings, out)
    stores = _prepare(corpus, out)
    pretrained = _pretrain(stores, out)
    with warnings.catch_warnings():
        # It is said below: the beginning of a docstring tells enough.
        warnings.filterwarnings("ignore", message=".*: longer than a row")
        classifier = _finetune(pretrained, out)
        report = _evaluate(classifier)
    folder = _export(classifier, out)
    answers = _ask(folder, _examples(out / "data" / "test.jsonl"))
    return _report(out, pretrained, report, answers)


def _free_folder(out: Path) -> Path:
    number, folder = 1, out
    while folder.exists():
        number += 1
        folder = out.with_name(f"{out.name}-{number}")
    folder.mkdir(parents=True)
    return folder


def _collect() -> list[pipelines.Docstring]:
    with console.progress("Collecting docstrings") as move:
        docstrings = pipelines.collect_docstrings(
            progress=lambda done, total: move(done, f"{done:,} files", total=total)
        )
    size = sum(len(docstring.text) for docstring in docstrings)
    libraries = Counter(docstring.library for docstring in docstrings)
    console.out.print(
        f"{len(docstrings):,} docstrings of {len(libraries)} libraries, {size / 1e6:.1f} MB of text"
    )
    if size < LEAST_CHARACTERS:
        raise ValueError(
            f"This machine's Python packages hold {size:,} characters of docstrings; the demo "
            f"needs {LEAST_CHARACTERS:,}. Install tfpt's dependencies into this environment."
        )
    return docstrings


def _split_of(path: str) -> str:
    """A source file's split, 80 : 10 : 10; so no file is on two sides."""
    share = int.from_bytes(hashlib.sha256(path.encode()).digest()[:4], "big") / 2**32
    return "train" if share < 0.8 else "validation" if share < 0.9 else "test"


def _write_corpus(
    docstrings: Sequence[pipelines.Docstring], out: Path
) -> dict[str, pipelines.Documents]:
    """Write the labelled rows; give the running text of each split."""
    console.out.print("\n[bold]Labelled texts[/bold]: which library is a docstring from?")
    by_split: dict[str, list[pipelines.Docstring]] = {split: [] for split in SPLITS}
    for docstring in docstrings:
        by_split[_split_of(docstring.path)].append(docstring)
    counts = Counter(docstring.library for docstring in by_split["train"])
    libraries = [name for name, _ in counts.most_common(NUM_LIBRARIES)]
    (out / "data").mkdir()
    shown = {library: [library] for library in libraries}
    for split, rows in by_split.items():
        chosen = _labelled(rows, libraries, most=MOST_ROWS[split])
        with open(out / "data" / f"{split}.jsonl", "w", encoding="utf-8") as file:
            for text, label in chosen:
                file.write(json.dumps({"text": text, "label": label}) + "\n")
        numbers = Counter(label for _, label in chosen)
        for library in libraries:
            shown[library].append(f"{numbers[library]:,}")
    console.table("", ["library", *SPLITS], list(shown.values()))
    return {split: pipelines.docstring_documents(rows) for split, rows in by_split.items()}


def _labelled(
    rows: Iterable[pipelines.Docstring], libraries: Sequence[str], *, most: int
) -> list[tuple[str, str]]:
    """The prose of docstrings with their library, at most `most` of each, spread evenly."""
    texts: dict[str, list[str]] = {library: [] for library in libraries}
    for docstring in rows:
        if docstring.library in texts:
            texts[docstring.library].append(docstring.text)
    chosen = []
    for library, all_texts in texts.items():
        step = max(1, len(all_texts) / most)
        for number in range(min(most, len(all_texts))):
            prose = " ".join(pipelines.docstring_sentences(all_texts[int(number * step)]))
            if prose:
                chosen.append((prose, library))
    return chosen


def _prepare(corpus: dict[str, pipelines.Documents], out: Path) -> Path:
    """Vocabulary and token stores; the test files are in neither."""
    console.out.print("\n[bold]Vocabulary and token store[/bold]")
    tokenizer = pipelines.train_wordpiece(
        console.Tracked(corpus["train"], "Training the vocabulary"), VOCABULARY_SIZE
    )
    tokenizer.save(out / "vocab.txt")
    folder = out / "stores"
    num_tokens = {}
    for split in ("train", "validation"):
        documents = console.Tracked(corpus[split], f"Tokenizing ({split})")
        num_tokens[split] = pipelines.write_store(documents, tokenizer, folder / split).num_tokens
    console.out.print(
        f"{tokenizer.vocabulary_size:,} entries; {num_tokens['train']:,} tokens to train on"
    )
    return folder


def _pretrain(stores: Path, out: Path) -> training.Run:
    settings = bert.Config(
        data=bert.Data(
            store=(str(stores / "train"),),
            validation_store=str(stores / "validation"),
            sequence_length=SEQUENCE_LENGTH,
        ),
        model=SIZE,
        training=config.Training(
            batch_size=64,
            total_steps=600,
            warmup_steps=60,
            learning_rate=1e-3,
            steps_per_epoch=200,
            validation_steps=20,
        ),
    )
    console.out.print("\n[bold]Pre-training[/bold]: masked words and next sentences")
    with console.progress("Pre-training") as move:
        bar = callbacks.Report(move, console.err.print, settings.training.batch_size)
        return training.pretrain(bert, settings, out / "runs" / "bert", callbacks=[bar], verbose=0)


def _finetune(pretrained: training.Run, out: Path) -> training.Run:
    settings = classify.Config(
        data=classify.Data(name=str(out / "data"), sequence_length=SEQUENCE_LENGTH),
        model=SIZE,
        training=config.FineTuning(batch_size=64, epochs=3, learning_rate=5e-4),
        start=str(pretrained.path),
    )
    console.out.print(
        f"\n[bold]Fine-tuning[/bold]: which library? (By the first {SEQUENCE_LENGTH} tokens.)"
    )
    with console.progress("Fine-tuning") as move:
        bar = callbacks.Report(move, console.err.print, settings.training.batch_size)
        path = out / "runs" / "libraries"
        return training.finetune(classify, settings, path, callbacks=[bar], verbose=0)


def _evaluate(classifier: training.Run) -> dict:
    console.out.print("\n[bold]Evaluating[/bold] on source files that were kept out")
    with console.progress("Evaluating"):
        report = evaluation.evaluate_run(classify, str(classifier.path))
    assert isinstance(report, evaluation.ClassificationReport)
    console.report("", report.to_dict(), report.measures)
    return report.to_dict()


def _export(classifier: training.Run, out: Path) -> Path:
    console.out.print("\n[bold]Exporting[/bold] a SavedModel that takes plain strings")
    with console.progress("Exporting"):
        written = export.export_run(classify, classifier.path, out / "models" / "libraries")
    console.out.print(str(written))
    return written.parent


def _examples(path: Path) -> list[dict[str, str]]:
    """The first test row of each library."""
    rows: dict[str, dict[str, str]] = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            rows.setdefault(row["label"], row)
    return list(rows.values())


def _ask(folder: Path, examples: Sequence[dict[str, str]]) -> bool:
    """Serve the folder, ask by REST and by gRPC, and print; whether both answers are the same."""
    console.out.print("\n[bold]Serving[/bold], and asking by REST and gRPC")
    texts = [row["text"] for row in examples]
    with (
        console.progress("Serving"),
        serving.Server({"libraries": folder}, rest_port=0, grpc_port=0) as server,
    ):
        rest = serving.Client(server.address, "libraries").predict(texts)
        grpc = serving.Client(server.grpc_address, "libraries", protocol="grpc").predict(texts)
    rows = [
        [row["text"][:50], row["label"], str(label), f"{score:.3f}"]
        for row, label, score in zip(examples, rest["label"], rest["score"], strict=True)
    ]
    console.table("", ["text", "library", "answer", "score"], rows)
    same = list(rest["label"]) == list(grpc["label"])
    console.out.print(f"REST and gRPC answer {'the same' if same else 'differently'}.")
    return same


def _report(out: Path, pretrained: training.Run, report: dict, same: bool) -> dict[str, float]:
    last = callbacks.history(pretrained)[-1]
    measures = {
        "masked-word accuracy (validation)": last["val_masked_lm_accuracy"],
        "next-sentence accuracy (validation)": last["val_next_sentence_accuracy"],
        "library accuracy (test)": report["accuracy"],
        "library accuracy of the majority class": report["majority_accuracy"],
        "library macro F1 (test)": report["macro_f1"],
    }
    console.out.print()
    console.table(
        "Report", ["measure", "value"], [[name, f"{v:.4f}"] for name, v in measures.items()]
    )
    console.out.print(
        f"\nGo on by hand:\n"
        f"  tensorboard --logdir {out}/runs\n"
        f"  tfpt serve {out}/models/libraries\n"
        f"  tfpt predict localhost:8501 libraries 'Return a tensor with the same shape.'"
    )
    return measures
