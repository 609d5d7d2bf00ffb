"""SNIPS' utterances with the kinds of slots they hold, as rows for the recipe `label`.

    python tests/benchmarks/snips.py nlu-benchmark/2017-06-custom-intent-engines rows

Writes train.jsonl (the files train_..._full.json) and test.jsonl (validate_....json), with the
fields `text` and `labels`. Source of the data: Coucke et al. 2018, https://arxiv.org/abs/1805.10190
(CC0, https://github.com/sonos/nlu-benchmark).
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    for split, pattern in (("train", "*/train_*_full.json"), ("test", "*/validate_*.json")):
        lines = [
            json.dumps(row)
            for path in sorted(arguments.folder.glob(pattern))
            for row in _rows(path.read_bytes())
        ]
        (arguments.out / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{split}: {len(lines):,} rows")


def _rows(content: bytes) -> Iterator[dict[str, object]]:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:  # one file is ISO-8859-1
        text = content.decode("iso-8859-1")
    for utterances in json.loads(text).values():
        for utterance in utterances:
            parts = utterance["data"]
            yield {
                "text": "".join(part["text"] for part in parts).strip(),
                "labels": sorted({part["entity"] for part in parts if "entity" in part}),
            }


if __name__ == "__main__":
    main()
