"""A WordPiece vocabulary from text."""

import contextlib
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tfpt.pipelines.tokenizer import CONTINUATION_PREFIX, SPECIAL_TOKENS, Tokenizer


def train_wordpiece(
    documents: Iterable[Sequence[str]],
    vocabulary_size: int,
    *,
    lowercase: bool = True,
    min_frequency: int = 2,
    limit_alphabet: int = 6_000,
    progress: bool = False,
) -> Tokenizer:
    """Learn a vocabulary of word pieces from the sentences of `documents`.

    The text is read once, as a stream; memory grows with the number of different words. The work is
    done by the `tokenizers` library.

    The text is normalized as `Tokenizer.tokenize` does it in the graph, so the vocabulary fits what
    will be asked of it. The order is fixed: [PAD] [UNK] [CLS] [SEP] [MASK], the characters, the
    continued characters (as "##a"), the longer pieces, each sorted. Not guaranteed: where pieces
    are equally frequent, which of them come in may differ from run to run on the same text (about
    1 in 1,000 entries). Keep a vocabulary together with what was made with it.

    Args:
        documents: Documents as sequences of sentences, e.g. of `read_documents`.
        vocabulary_size: The number of entries wanted, special tokens included.
        lowercase: Whether to lowercase and strip accents. False for cased and for Chinese text.
        min_frequency: How often a pair of pieces must occur to become an entry.
        limit_alphabet: The most frequent so many characters become entries; a word that holds
            another one becomes [UNK]. 6,000 are enough for Chinese beside other scripts.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: The documents hold no text, less of it than `vocabulary_size` entries need, or
            more characters than `vocabulary_size` has room for.

    Source: Devlin et al. 2019, https://arxiv.org/abs/1810.04805.
    """
    _check_arguments(vocabulary_size, min_frequency, limit_alphabet)
    import tokenizers

    trainee = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    trainee.normalizer = _normalizer(lowercase)
    trainee.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=vocabulary_size,
        min_frequency=min_frequency,
        limit_alphabet=limit_alphabet,
        special_tokens=list(SPECIAL_TOKENS),
        continuing_subword_prefix=CONTINUATION_PREFIX,
        show_progress=False,
    )
    with _shown(documents) if progress else contextlib.nullcontext(documents) as stream:
        trainee.train_from_iterator(itertools.chain.from_iterable(stream), trainer)
    entries = list(trainee.get_vocab())
    _check_entries(len(entries), vocabulary_size, min_frequency, limit_alphabet)
    return Tokenizer(_in_order(entries), lowercase=lowercase)


def _check_arguments(vocabulary_size: int, min_frequency: int, limit_alphabet: int) -> None:
    if vocabulary_size <= len(SPECIAL_TOKENS):
        raise ValueError(
            f"`vocabulary_size` counts the {len(SPECIAL_TOKENS)} special tokens and must be larger;"
            f" received vocabulary_size={vocabulary_size}. BERT has 30,522."
        )
    for name, value in (("min_frequency", min_frequency), ("limit_alphabet", limit_alphabet)):
        if value < 1:
            raise ValueError(f"`{name}` is a count of at least 1; received {name}={value}.")


def _check_entries(
    num_entries: int, vocabulary_size: int, min_frequency: int, limit_alphabet: int
) -> None:
    if num_entries == len(SPECIAL_TOKENS):
        raise ValueError(
            "There is no text to learn a vocabulary from: no document holds a word. "
            "Check the source."
        )
    if num_entries > vocabulary_size:
        raise ValueError(
            f"vocabulary_size={vocabulary_size:,} has no room for the characters of this text: "
            f"with the special tokens they are {num_entries:,} entries, before any longer piece. "
            f"Raise vocabulary_size to that at least, or lower limit_alphabet={limit_alphabet:,}."
        )
    if num_entries < vocabulary_size:
        raise ValueError(
            f"This text gives {num_entries:,} entries at min_frequency={min_frequency}; "
            f"vocabulary_size={vocabulary_size:,} was asked for. Lower vocabulary_size to at most "
            f"{num_entries:,}, give more text, or lower min_frequency."
        )


def _normalizer(lowercase: bool) -> Any:
    """What `Tokenizer.tokenize` does to a text before it cuts it into words."""
    from tokenizers import normalizers

    bert = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=lowercase, lowercase=lowercase
    )
    # In the graph, lowercasing folds compatibility forms as well.
    return normalizers.Sequence([normalizers.NFKC(), bert]) if lowercase else bert


def _in_order(entries: Iterable[str]) -> list[str]:
    """Special tokens, characters, continued characters, longer pieces; each sorted."""

    def place(entry: str) -> tuple[int, str]:
        if len(entry) == 1:
            return 0, entry
        is_character = len(entry) == len(CONTINUATION_PREFIX) + 1
        return (1 if is_character and entry.startswith(CONTINUATION_PREFIX) else 2), entry

    return [*SPECIAL_TOKENS, *sorted(set(entries) - set(SPECIAL_TOKENS), key=place)]


@contextlib.contextmanager
def _shown(documents: Iterable[Sequence[str]]) -> Iterator[Iterable[Sequence[str]]]:
    """The documents, with a bar that follows their being read and pulses until the end."""
    from rich.progress import Progress

    with Progress(transient=True) as bars:
        reading = bars.add_task("Reading text", total=getattr(documents, "num_bytes", None))

        def stream() -> Iterator[Sequence[str]]:
            shown = time.monotonic()
            for document in documents:
                yield document
                if time.monotonic() > shown + 0.1:
                    bars.update(reading, completed=getattr(documents, "bytes_read", 0))
                    shown = time.monotonic()
            bars.remove_task(reading)
            bars.add_task("Learning pieces", total=None)

        yield stream()
