"""Texts that tokenizers are tried on, and what a tokenizer gives for them inside the graph."""

from collections.abc import Callable, Iterator
from pathlib import Path

from hypothesis import strategies

from tfpt.pipelines import Encoding

CORPORA = ("novels", "chinese", "wikitext")
# Lines at once: what a test holds of a corpus.
_AT_ONCE = 50_000

# Characters of every kind at any place: letters, marks, white space, what is not assigned.
_CHARACTERS = (
    strategies.characters(max_codepoint=0x7F)
    | strategies.characters(max_codepoint=0x3FF)
    | strategies.characters(categories=("Mn", "Mc", "Me", "P", "S", "Z", "Cf", "Cc"))
    | strategies.characters(exclude_categories=("Cs",))
    | strategies.sampled_from("aAbB1'\u00e9\u00c9\u0301 \t\n\u3000\u6211\u0e01\u2e43\u166d\ue000")
)
UNICODE = strategies.text(_CHARACTERS, max_size=40)


def every_line(
    shared_data: Callable[[str], Path], corpus: str, *, step: int = 1
) -> Iterator[list[str]]:
    """All lines of a corpus, empty ones too; or those of every `step`-th file."""
    pattern, folder = {
        "novels": ("*.txt", shared_data("lm_novels_en")),
        "chinese": ("**/*.json", shared_data("lm_zh_classical")),
        "wikitext": ("*.txt", shared_data("lm_wikitext2_eval")),
    }[corpus]
    lines: list[str] = []
    for path in sorted(folder.glob(pattern))[::step]:
        lines += path.read_text(encoding="utf-8").split("\n")
        while len(lines) > _AT_ONCE:
            yield lines[:_AT_ONCE]
            del lines[:_AT_ONCE]
    yield lines


def reference_strings(
    shared_data: Callable[[str], Path], vocabulary: str
) -> tuple[list[str], list[list[int]]]:
    """44 hard texts, and their ids by the vocabulary of "bert-bge" or "gpt-2"."""
    folder = shared_data("tok_fixtures") / "reference"
    with open(folder / "ggml-vocab.inp", encoding="utf-8", newline="") as file:
        texts = file.read().split("\n__ggml_vocab_test__\n")[:44]  # the last one ends the file
    lines = (folder / f"ggml-vocab-{vocabulary}.out").read_text().split("\n")[:44]
    return texts, [[int(one) for one in line.split()] for line in lines]


def in_graph(tokenizer, texts) -> list[Encoding]:
    """Ids and spans by `tokenize_with_offsets`, in the form of `encode`."""
    parts = tokenizer.tokenize_with_offsets(texts, unit="character")
    rows = zip(*(part.to_list() for part in parts), strict=True)
    return [Encoding(*row) for row in rows]
