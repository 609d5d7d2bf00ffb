"""How long training a vocabulary takes, against the trainers of the `tokenizers` library.

    python tests/benchmarks/vocabulary.py 'novels/*.txt' --size 30522 --rounds 5

Both read the same documents and train in processes of their own, in turns (A B A B ...), since the
machine is not the same from one minute to the next; the ratio is the median of the ratios of each
turn. What counts is processor time, reading included: wall time is shown, but the library works on
several cores and other work may be running. The sha256 of the entries shows whether the turns gave
the same vocabulary.
"""

import argparse
import hashlib
import itertools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from tfpt import pipelines
from tfpt.pipelines.special_tokens import SPECIAL_TOKENS

Train = Callable[[pipelines.Documents], Sequence[str]]
KINDS = ("wordpiece", "byte_pair", "unigram")
ARMS = ("tfpt", "tokenizers")


def main() -> None:
    arguments = _parse()
    if arguments.arm:
        print(json.dumps(_train(arguments)))
        return
    for kind in arguments.kinds:
        turns = [
            {arm: _in_process(arguments, kind, arm) for arm in ARMS}
            for _ in range(arguments.rounds)
        ]
        for arm in ARMS:
            runs = [turn[arm] for turn in turns]
            seconds = {name: median(run[name] for run in runs) for name in ("cpu", "wall")}
            print(
                f"{kind:10} {arm:10} {seconds['cpu']:6.1f} s CPU {seconds['wall']:6.1f} s wall "
                f"{max(run['megabytes'] for run in runs):5.0f} MB, "
                f"{len({run['sha256'] for run in runs})} vocabularies in {len(runs)} trainings"
            )
        ratios = sorted(turn["tfpt"]["cpu"] / turn["tokenizers"]["cpu"] for turn in turns)
        print(f"{kind:10} ratio {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="+", help="text files or globs, one sentence a line")
    parser.add_argument("--size", type=int, default=30_522)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_process(arguments: argparse.Namespace, kind: str, arm: str) -> dict:
    options = ["--size", str(arguments.size), "--kinds", kind, "--arm", arm]
    command = [sys.executable, __file__, *arguments.sources, *options]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


def _train(arguments: argparse.Namespace) -> dict:
    (kind,) = arguments.kinds
    documents = pipelines.read_documents(arguments.sources)
    train = {"tfpt": _by_tfpt, "tokenizers": _by_tokenizers}[arguments.arm](kind, arguments.size)
    cpu, wall = time.process_time(), time.perf_counter()
    entries = train(documents)
    return {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "sha256": hashlib.sha256("\n".join(entries).encode()).hexdigest(),
    }


def _by_tfpt(kind: str, size: int) -> Train:
    train = getattr(pipelines, f"train_{kind}")
    return lambda documents: train(documents, size).vocabulary


def _by_tokenizers(kind: str, size: int) -> Train:
    shared = {"vocab_size": size, "special_tokens": list(SPECIAL_TOKENS), "show_progress": False}
    if kind == "wordpiece":
        trainee = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        trainee.normalizer = normalizers.BertNormalizer(lowercase=True)
        trainee.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(min_frequency=2, **shared)
    elif kind == "byte_pair":
        trainee = Tokenizer(models.BPE())
        trainee.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(min_frequency=2, initial_alphabet=alphabet, **shared)
    else:
        trainee = Tokenizer(models.Unigram())
        trainee.normalizer = normalizers.NFKC()
        trainee.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(unk_token="[UNK]", **shared)

    def train(documents: pipelines.Documents) -> Sequence[str]:
        trainee.train_from_iterator(itertools.chain.from_iterable(documents), trainer)
        ids = trainee.get_vocab()
        return sorted(ids, key=lambda entry: ids[entry])

    return train


if __name__ == "__main__":
    main()
