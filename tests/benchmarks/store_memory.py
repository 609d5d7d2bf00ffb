r"""Memory and speed of writing a token store, at several sizes of the corpus.

    python tests/benchmarks/store_memory.py 'novels/*.txt' --vocabulary vocab.txt --megabytes 50 500

A corpus is made by repetition with variation: the lines of the texts in an order of their own each
time, a document each fifty lines. Printed are the largest anonymous memory of all processes
together, sampled four times a second, and MB of text a second.
"""

import argparse
import glob
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", help="a glob")
    parser.add_argument("--vocabulary", required=True)
    parser.add_argument("--megabytes", type=int, nargs="+", required=True)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    lines = lines_of(arguments.texts)
    for megabytes in arguments.megabytes:
        with tempfile.TemporaryDirectory() as folder:
            corpus = Path(folder) / "corpus.txt"
            write_corpus(corpus, lines, megabytes * 1_000_000)
            seconds, anonymous = _write_store(corpus, arguments)
            print(
                f"{megabytes:>6,} MB: {anonymous / 1e6:,.0f} MB anonymous, "
                f"{megabytes / seconds:.1f} MB/s with {arguments.workers} processes",
                flush=True,
            )


def lines_of(pattern: str) -> list[str]:
    """The lines of files that match a glob, but for blank ones."""
    return [
        line
        for path in sorted(glob.glob(pattern))
        for line in Path(path).read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]


def write_corpus(path: Path, lines: list[str], num_bytes: int) -> None:
    """Write a corpus of so many bytes: the lines in an order of their own each time."""
    order = random.Random(0)
    with open(path, "w", encoding="utf-8") as file:
        while file.tell() < num_bytes:
            order.shuffle(lines)
            for first in range(0, len(lines), 50):
                file.write("\n".join(lines[first : first + 50]) + "\n\n")
                if first % 1000 == 0 and file.tell() >= num_bytes:
                    break


def _write_store(corpus: Path, arguments: argparse.Namespace) -> tuple[float, int]:
    command = [sys.executable, "-m", "tfpt", "store", str(corpus)]
    command += ["--vocabulary", arguments.vocabulary, "--workers", str(arguments.workers)]
    command += ["--out", str(corpus.with_name("store"))]
    return measured(command)


def measured(command: list[str]) -> tuple[float, int]:
    """Run a command; gives its seconds, and the most anonymous memory of all its processes."""
    began, most = time.monotonic(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None:
        most = max(most, _anonymous(process.pid))
        time.sleep(0.25)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.monotonic() - began, most


def _anonymous(session: int) -> int:
    """Bytes of anonymous memory of all processes of a session."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                status = (folder / "status").read_text()
                total += 1024 * int(re.search(r"RssAnon:\s+(\d+)", status)[1])
        except (OSError, TypeError):
            continue
    return total


if __name__ == "__main__":
    main()
