"""Documents in parts that other processes can read, as `read_documents` gives them."""

import os
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Some documents; slow, or broken, where a test needs that."""

    number: int
    documents: tuple[tuple[str, ...], ...]
    seconds: float = 0.0
    fails: str = ""
    segmented: bool = False

    @property
    def num_bytes(self) -> int:
        return sum(len(sentence) for document in self.documents for sentence in document)

    @property
    def identity(self) -> str:
        return repr((self.number, self.documents))

    def __iter__(self):
        time.sleep(self.seconds)
        if self.fails == "error":
            raise ValueError(f"a bad byte in part {self.number}")
        if self.fails == "death":
            os._exit(9)
        yield from self.documents


@dataclass(frozen=True)
class InParts:
    """Documents whose parts are given."""

    given: tuple[Part, ...]

    def parts(self, num_bytes: int):
        return list(self.given)


def in_parts(documents, num_parts: int, **changes) -> InParts:
    """The documents dealt to parts in order; `changes` maps a part's number to what is changed."""
    size = -(-len(documents) // num_parts)
    pieces = [tuple(documents[first : first + size]) for first in range(0, len(documents), size)]
    return InParts(
        tuple(
            Part(number, piece, **changes.get(f"part{number}", {}))
            for number, piece in enumerate(pieces)
        )
    )
