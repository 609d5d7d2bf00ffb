r"""Public data sets in files of their own kinds, as rows that recipes read.

    python tests/benchmarks/data_sets.py trec FOLDER OUT       # classes of questions: TREC.train
    python tests/benchmarks/data_sets.py rte FOLDER OUT        # pairs: rte1_dev.xml, rte1_test.xml
    python tests/benchmarks/data_sets.py kinds FOLDER OUT      # SNIPS: the kinds of slots of a text
    python tests/benchmarks/data_sets.py slots FOLDER OUT      # SNIPS: words with tags
    python tests/benchmarks/data_sets.py chnsenticorp FOLDER OUT  # reviews of hotels, none empty

Writes OUT/train.jsonl and OUT/test.jsonl, or one file where the set has no test rows. Fields are
`text` and `label`; `premise`, `hypothesis` and `label`; `text` and `labels`; `words` and `tags`.

Sources: Li and Roth 2002, https://aclanthology.org/C02-1150 (TREC; the six coarse classes). Dagan
et al. 2006 (RTE-1 to 3; all pairs to train on are those that were given out as development sets).
Coucke et al. 2018, https://arxiv.org/abs/1805.10190 (SNIPS, CC0,
https://github.com/sonos/nlu-benchmark, folder 2017-06-custom-intent-engines; the files
train_..._full.json, and validate_....json to test). ChnSentiCorp's hotels:
https://github.com/SophonPlus/ChineseNlpCorpus.
"""

import argparse
import csv
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path

Row = dict[str, object]
Splits = dict[str, Iterator[Row]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=DATA_SETS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    for split, count in write(arguments.name, arguments.folder, arguments.out).items():
        print(f"{split}: {count:,} rows")


def write(name: str, folder: Path, out: Path) -> dict[str, int]:
    """Write the splits of a data set; how many rows each has.

    Args:
        name: One of `DATA_SETS`.
        folder: Of the set's own files.
        out: A folder to make.
    """
    out.mkdir(parents=True)
    counts = {}
    for split, rows in DATA_SETS[name](folder).items():
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (out / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        counts[split] = len(lines)
    return counts


def _trec(folder: Path) -> Splits:
    def rows(path: Path) -> Iterator[Row]:
        for line in path.read_text(encoding="iso-8859-1").splitlines():
            label, text = line.split(" ", 1)
            yield {"text": text, "label": label.partition(":")[0]}

    return {split: rows(folder / f"TREC.{split}") for split in ("train", "test")}


def _rte(folder: Path) -> Splits:
    def rows(pattern: str) -> Iterator[Row]:
        for path in sorted(folder.glob(pattern)):
            for pair in ElementTree.parse(path).getroot().iter("pair"):
                # The first challenge has `value` TRUE and FALSE.
                answer = pair.get("entailment") or pair.get("value")
                texts = {name: _text(pair, tag) for name, tag in TAGS.items()}
                yield texts | {"label": RTE_LABELS[answer]}

    return {"train": rows("*_dev.xml"), "test": rows("*_test.xml")}


TAGS = {"premise": "t", "hypothesis": "h"}
RTE_LABELS = dict.fromkeys(("YES", "TRUE"), "entailment")
RTE_LABELS |= dict.fromkeys(("NO", "FALSE"), "not_entailment")


def _text(pair: ElementTree.Element, tag: str) -> str:
    return " ".join((pair.findtext(tag) or "").split())


def _snips(folder: Path, row: Callable[[list[dict[str, str]]], Row]) -> Splits:
    """The utterances of SNIPS, each given to `row` in its parts, of which some are entities."""

    def rows(pattern: str) -> Iterator[Row]:
        for path in sorted(folder.glob(pattern)):
            content = path.read_bytes()
            try:
                text = content.decode("utf-8")
            except UnicodeDecodeError:  # one file is ISO-8859-1
                text = content.decode("iso-8859-1")
            for utterances in json.loads(text).values():
                yield from (row(utterance["data"]) for utterance in utterances)

    return {"train": rows("*/train_*_full.json"), "test": rows("*/validate_*.json")}


def _kinds(parts: list[dict[str, str]]) -> Row:
    return {
        "text": "".join(part["text"] for part in parts).strip(),
        "labels": sorted({part["entity"] for part in parts if "entity" in part}),
    }


def _slots(parts: list[dict[str, str]]) -> Row:
    words: list[str] = []
    tags: list[str] = []
    for part in parts:
        own, kind = part["text"].split(), part.get("entity")
        words += own
        tags += [f"{'I' if i else 'B'}-{kind}" if kind else "O" for i in range(len(own))]
    return {"words": words, "tags": tags}


def _chnsenticorp(folder: Path) -> Splits:
    with open(folder / "ChnSentiCorp_htl_all.csv", encoding="utf-8", newline="") as file:
        rows = [
            {"text": row["review"], "label": ("negative", "positive")[int(row["label"])]}
            for row in csv.DictReader(file)
            if row["review"]  # one has no text
        ]
    return {"reviews": iter(rows)}


DATA_SETS: dict[str, Callable[[Path], Splits]] = {
    "trec": _trec,
    "rte": _rte,
    "kinds": lambda folder: _snips(folder, _kinds),
    "slots": lambda folder: _snips(folder, _slots),
    "chnsenticorp": _chnsenticorp,
}


if __name__ == "__main__":
    main()
