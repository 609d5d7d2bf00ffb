r"""The first batch from a large store, and the memory that drawing takes.

    python tests/benchmarks/large_store.py stores/novels --tokens 2_500_000_000 --out /tmp/large
    python tests/benchmarks/large_store.py stores/novels --tokens 400_000_000 --out /tmp/medium

A store is written to `--out` that holds the documents of another one again and again, and stays
there for the next run. In a new process, after the imports: the seconds from opening it to the
first batch of 256 rows of 128 tokens, with pairs and masks, and the anonymous memory of the process
before, after the first batch, and after a thousand. Run it in an environment without the extras for
tests: Keras imports SciPy and scikit-learn where they are installed, 45 MB.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", help="the store to repeat")
    parser.add_argument("--tokens", type=int, required=True, help="how many the large one has")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the large store")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help="used by the script itself")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(_measure(arguments.out)))
        return
    if not arguments.out.exists():
        _repeat(Path(arguments.store), arguments.out, arguments.tokens)
    command = [sys.executable, *sys.argv, "--measure"]
    rounds = []
    for _ in range(arguments.rounds):
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        rounds.append(json.loads(result.stdout))
        print(rounds[-1], flush=True)
    for name in rounds[0]:
        values = [one[name] for one in rounds]
        print(f"{name:>20}: {statistics.median(values):.2f} ({min(values)} to {max(values)})")


def _repeat(source: Path, target: Path, num_tokens: int) -> None:
    """Write a store that holds the documents of another as often as it takes."""
    from tfpt import pipelines
    from tfpt.pipelines.examples import keep_usual_examples
    from tfpt.pipelines.store import ARRAYS, checksums

    store = pipelines.open_store(source)
    times = -(-num_tokens // store.num_tokens)
    beside = target.with_suffix(".tmp")
    beside.mkdir()
    description = json.loads((source / "store.json").read_text(encoding="utf-8"))
    sizes = {"token_ids.bin": 0, "sentence_offsets.bin": store.num_tokens}
    sizes["document_offsets.bin"] = store.num_sentences
    for name in ARRAYS:
        array = getattr(store, name.removesuffix(".bin"))
        with open(beside / name, "wb") as file:
            for number in range(times):
                if not sizes[name]:
                    file.write(array.tobytes())
                else:
                    offsets = array + number * sizes[name]
                    file.write(offsets[1 if number else 0 :].tobytes())
        blocks = checksums(beside / name)
        description["files"][name] = {"bytes": (beside / name).stat().st_size, "blocks": blocks}
    for name in ("num_tokens", "num_sentences", "num_documents"):
        description[name] *= times
    pipelines.load_tokenizer(source).save(beside)
    (beside / "store.json").write_text(json.dumps(description), encoding="utf-8")
    beside.rename(target)
    keep_usual_examples(pipelines.open_store(target))  # as `write_store` does


def _measure(path: Path) -> dict[str, float]:
    import tensorflow as tf

    from tfpt import pipelines

    tf.constant(1) + 1  # TensorFlow's own start
    stream, before = pipelines.mlm_nsp, _anonymous()
    began = time.monotonic()
    store = pipelines.open_store(path)
    batches = iter(stream(store, sequence_length=128, batch_size=256))
    next(batches)
    seconds, first = time.monotonic() - began, _anonymous()
    for _ in range(1000):
        next(batches)
    return {
        "seconds": round(seconds, 2),
        "MB before": before,
        "MB after the first": first,
        "MB after 1,000": _anonymous(),
    }


def _anonymous() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(r"RssAnon:\s+(\d+)", status)
    return 0 if found is None else int(found[1]) * 1024 // 1_000_000


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
