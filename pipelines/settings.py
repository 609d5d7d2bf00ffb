"""How batches are drawn, in numbers. Imports no TensorFlow."""

from dataclasses import dataclass, field

import numpy as np

from tfpt.config import check, check_choice

UNITS = ("token", "word")
SPAN_LENGTHS = ("one", "harmonic", "geometric")
PAIRINGS = ("next_sentence", "sentence_order", "single")
LAYOUTS = ("padded", "packed", "bucketed")
# Tokens of a row that are neither of a question nor of its context.
NUM_SPECIALS = 3


@dataclass(frozen=True, kw_only=True)
class Masking:
    """Which tokens of a row are to be predicted, and what stands in their place."""

    rate: float = 0.15  # share of ordinary tokens to predict, in (0, 1)
    final_rate: float | None = None  # the share after `rate_steps` batches; none: it stays
    rate_steps: int = 100_000  # batches over which the share goes to `final_rate`, linearly
    unit: str = "token"  # chosen whole: "token", or "word" (all of its pieces)
    span_lengths: str = "one"  # units in a span: "one", "harmonic" (1/n) or "geometric" to max_span
    max_span: int = 1  # most units in a span; the last one of a row may be cut to fit its share
    stop_rate: float = 0.2  # geometric: the chance that a span ends after each unit
    mask_share: float = 0.8  # of the chosen tokens, replaced by [MASK]
    random_share: float = 0.1  # of the chosen tokens, replaced by a random one; the rest is kept
    together: bool = False  # whether all tokens of a span get the same of the three

    def __post_init__(self) -> None:
        check(self, "rate", 0 < self.rate < 1, "a share of tokens, in (0, 1): 0.15 is 15%")
        holds = self.final_rate is None or 0 < self.final_rate < 1
        check(self, "final_rate", holds, "a share of tokens, in (0, 1), or none")
        check(self, "rate_steps", self.rate_steps > 0, "a positive number")
        check_choice(self, "unit", UNITS)
        check_choice(self, "span_lengths", SPAN_LENGTHS)
        check(self, "max_span", self.max_span >= 1, "a positive number")
        if self.span_lengths == "one":
            check(self, "max_span", self.max_span == 1, 'at most 1 with span_lengths="one"')
        check(self, "stop_rate", 0 < self.stop_rate <= 1, "a chance in (0, 1]")
        for name in ("mask_share", "random_share"):
            check(self, name, 0 <= getattr(self, name) <= 1, "a share in [0, 1]")
        holds = self.mask_share + self.random_share <= 1 + 1e-9
        check(self, "random_share", holds, f"at most 1 - mask_share={self.mask_share}")

    @property
    def max_rate(self) -> float:
        """The largest share there will be."""
        return max(self.rate, self.final_rate or 0.0)

    def span_chances(self) -> np.ndarray:
        """float64 (max_span,): how likely a span is to have 1, 2, ... units."""
        length = np.arange(1, self.max_span + 1)
        if self.span_lengths == "geometric":
            chances = self.stop_rate * (1 - self.stop_rate) ** (length - 1)
        else:
            chances = 1 / length
        return chances / chances.sum()

    def num_slots(self, num_tokens: int) -> int:
        """P for rows of `num_tokens` ordinary tokens: the share of a full row, and slack.

        Slots cost time in the model, too few of them masks: a row that would need more gets less
        than its share. A word that is chosen whole may need a few more.
        """
        slots = num_tokens * self.max_rate * 1.05 + (4 if self.unit == "word" else 0)
        return int(min(max(1, np.ceil(slots)), num_tokens))


# Devlin et al. 2019, https://arxiv.org/abs/1810.04805, section 3.1; whole words: the "Whole Word
# Masking" models of https://github.com/google-research/bert.
TOKENS = Masking()
WHOLE_WORDS = Masking(unit="word")
# Lan et al. 2020, https://arxiv.org/abs/1909.11942, section 3.1: 1 to 3 words, chances as 1/n.
NGRAMS = Masking(unit="word", span_lengths="harmonic", max_span=3)
# Joshi et al. 2020, https://arxiv.org/abs/1907.10529, section 3.1.
SPANS = Masking(unit="word", span_lengths="geometric", max_span=10, together=True)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What a row is made of."""

    # "next_sentence": B follows A or comes from another document. "sentence_order": B follows A,
    # or the two stand the wrong way round. "single": one text.
    pairing: str = "next_sentence"
    # "padded": a text, or pair, to a row. "packed": several, as long as they fit. "bucketed": a
    # text to a row, rows of like length together; each length goes through epochs of its own, and
    # has its share of the batches, rounded to whole ones.
    layout: str = "padded"
    max_texts: int = 8  # packed: most texts, or pairs, in a row
    num_buckets: int = 4  # bucketed: lengths, halving from the longest
    # 0: pairs and masks are new in every epoch. n: there are n versions of an example, one for each
    # epoch in turns, as if written to disk n times.
    duplicates: int = 0
    # Several stores: the share of rows from each. None: by the number of their examples.
    weights: tuple[float, ...] | None = None
    masking: Masking = field(default_factory=Masking)

    def __post_init__(self) -> None:
        check_choice(self, "pairing", PAIRINGS)
        check_choice(self, "layout", LAYOUTS)
        check(self, "max_texts", self.max_texts >= 1, "a positive number")
        check(self, "num_buckets", self.num_buckets >= 1, "a positive number")
        check(self, "duplicates", self.duplicates >= 0, "zero or a positive number")
        holds = self.duplicates == 0 or self.layout == "padded"
        check(self, "duplicates", holds, 'zero where layout is not "padded"')
        holds = self.weights is None or min(self.weights, default=0.0) > 0
        check(self, "weights", holds, "positive numbers, one for each store, or none")

    @property
    def num_specials(self) -> int:
        """[CLS] and a [SEP] for each text of a pair."""
        return 2 if self.pairing == "single" else 3

    @property
    def min_tokens(self) -> int:
        """The fewest tokens an example can be drawn from."""
        return 1 if self.pairing == "single" else 2


@dataclass(frozen=True, kw_only=True)
class CausalDrawing:
    """What a row is made of in which each token is predicted from those before it."""

    end_id: int | None = None  # the token between documents; none: [SEP]
    within_documents: bool = False  # whether attention stays within a document
    # Several stores: the share of rows from each. None: by the number of their tokens.
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        _check_streams(self)


@dataclass(frozen=True, kw_only=True)
class SpanDrawing:
    """What a row is made of from which spans were taken out, to be written by a decoder."""

    rate: float = 0.15  # share of tokens to take out, in (0, 1)
    mean_span: float = 3.0  # tokens in a span, on average
    # What stands for the first, second, ... span of a row, and ends the targets. None given: the
    # ids that follow the vocabulary, as many as a row needs.
    sentinel_ids: tuple[int, ...] = ()
    end_id: int | None = None  # the token between documents; none: [SEP]
    start_id: int | None = None  # the token that a decoder begins with; none: [PAD]
    # Several stores: the share of rows from each. None: by the number of their tokens.
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check(self, "rate", 0 < self.rate < 1, "a share of tokens, in (0, 1): 0.15 is 15%")
        check(self, "mean_span", self.mean_span >= 1, "at least 1")
        holds = len(set(self.sentinel_ids)) == len(self.sentinel_ids)
        check(
            self, "sentinel_ids", holds and min(self.sentinel_ids, default=0) >= 0, "different ids"
        )
        check(self, "start_id", self.start_id is None or self.start_id >= 0, "an id, or none")
        _check_streams(self)


def _check_streams(drawing: CausalDrawing | SpanDrawing) -> None:
    holds = drawing.end_id is None or drawing.end_id >= 0
    check(drawing, "end_id", holds, "an entry of the vocabulary, or none")
    holds = drawing.weights is None or min(drawing.weights, default=0.0) > 0
    check(drawing, "weights", holds, "positive numbers, one for each store, or none")


@dataclass(frozen=True, kw_only=True)
class ContextWindows:
    """How questions and their contexts are cut into rows.

    Source: the numbers are those of Devlin et al. 2019, https://arxiv.org/abs/1810.04805, and its
    code.
    """

    sequence_length: int = 384  # T, most tokens in a row
    # Tokens from the beginning of a window to that of the next one. What is not longer than the
    # overlap is whole in one of them.
    stride: int = 128
    question_length: int = 64  # most tokens of a question; longer ones are cut

    def __post_init__(self) -> None:
        check(self, "question_length", self.question_length >= 1, "at least 1 token")
        check(self, "stride", self.stride >= 1, "at least 1 token")
        room = self.sequence_length - NUM_SPECIALS - self.question_length
        if room < self.stride:
            raise ValueError(
                f"A row of {self.sequence_length} tokens with {NUM_SPECIALS} special tokens and a "
                f"question of {self.question_length} leaves {max(room, 0)} for its context, but "
                f"`stride` is {self.stride}: tokens between two windows would be passed over. "
                "Raise `sequence_length`, or lower `stride` or `question_length`."
            )
