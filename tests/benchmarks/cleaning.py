r"""Speed of each step of the cleaning on one core, and memory of the whole at several sizes.

    python tests/benchmarks/cleaning.py 'novels/*.txt' --evaluation 'reviews.txt' --megabytes 20 100

Documents of 50 lines, about 3,300 characters; speed is by processor time of this process, in MB of
text (UTF-8). Memory is the largest anonymous memory of all processes of `tfpt clean` together.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tfpt.pipelines import Cleaning, Repetition, read_documents
from tfpt.pipelines.cleaning import (
    duplicates,
    languages,
    length,
    near_duplicates,
    overlap,
    personal_data,
    repetition,
    unicode,
    words,
)

LINES = 50
STEPS = ("--unicode", "nfkc", "--min-words", "5", "--repetition", "--count-languages")
DUPLICATES = ("--exact-duplicates", "--near-duplicates", "0.8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", help="a glob")
    parser.add_argument("--evaluation", required=True, help="as `tfpt clean --overlap` takes it")
    parser.add_argument("--megabytes", type=int, nargs="*", default=[])
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    import store_memory

    lines = store_memory.lines_of(arguments.texts)
    _steps(lines[: 1_500 * LINES // 10], arguments.evaluation)
    for megabytes in arguments.megabytes:
        with tempfile.TemporaryDirectory() as folder:
            corpus = Path(folder) / "corpus.txt"
            store_memory.write_corpus(corpus, lines, megabytes * 1_000_000)
            for steps in (DUPLICATES, (*STEPS, *DUPLICATES)):
                command = [sys.executable, "-m", "tfpt", "clean", str(corpus), *steps]
                command += ["--workers", str(arguments.workers)]
                command += ["--out", str(Path(folder) / f"clean{len(steps)}")]
                seconds, anonymous = store_memory.measured(command)
                print(
                    f"{megabytes:>6,} MB, {' '.join(steps)}: {anonymous / 1e6:,.0f} MB anonymous, "
                    f"{megabytes / seconds:.1f} MB/s with {arguments.workers} processes",
                    flush=True,
                )


def _steps(lines: list[str], evaluation: str) -> None:
    """Print the speed of each step."""
    documents = [tuple(lines[at : at + LINES]) for at in range(0, len(lines), LINES)]
    num_bytes = sum(len(line.encode()) for line in lines)
    texts = overlap.evaluation_texts([("evaluation", read_documents(evaluation))], 13)
    limits, regions = Repetition(), Cleaning().phone_regions
    steps: dict[str, Callable[[tuple[str, ...]], object]] = {
        "unicode": lambda document: unicode.normalize_document(document, "nfkc"),
        "length": lambda document: length.length_problem(document, 5, 0),
        "repetition": lambda document: repetition.repetition_problem(document, limits),
        "languages": lambda document: languages.document_language(document, 0.5),
        "overlap": lambda document: overlap.texts_found(document, texts),
        "personal data": lambda document: personal_data.mask_document(document, regions),
        "exact duplicates": duplicates.document_hash,
        "near duplicates": near_duplicates.signature,
    }
    for name, step in steps.items():
        step(documents[0])  # what is loaded once
        began = time.process_time()
        for document in documents:
            words.document_words.cache_clear()  # each step pays for its words
            step(document)
        took = time.process_time() - began
        print(f"{name:<18} {num_bytes / 1e6 / took:8.1f} MB/s", flush=True)


if __name__ == "__main__":
    main()
