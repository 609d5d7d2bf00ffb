"""Words of a domain appended to a vocabulary that a model was trained with."""

from collections.abc import Iterable, Sequence

from tfpt.pipelines import bert_normalizer, word_counts
from tfpt.pipelines.tokenizer import TextTokenizer
from tfpt.pipelines.wordpiece import MAX_WORD, WordPiece


def extend_wordpiece(
    tokenizer: TextTokenizer,
    documents: Iterable[Sequence[str]],
    num_entries: int,
    *,
    min_frequency: int = 5,
    max_megabytes: float = 500.0,
    seed: int = 0,
) -> WordPiece:
    """Append the words of `documents` that the vocabulary cuts into pieces, the most frequent ones.

    All entries keep their ids, so that a model goes on with its weights: `tfpt pretrain --from`
    gives a new entry the mean of those of its pieces. What counts is how many pieces a word saves:
    its frequency times the pieces it is cut into, less one.

    Args:
        tokenizer: The vocabulary.
        documents: Documents as sequences of sentences, e.g. of `read_documents`.
        num_entries: Words to append, at least 1; fewer where the text has fewer.
        min_frequency: How often a word must occur.
        max_megabytes: The most text to look at; see `train_wordpiece`.
        seed: Of the sample.

    Raises:
        ValueError: The vocabulary is of another kind, a number is out of range, or the text holds
            no such word.

    Source: Yao et al. 2021, section 3.1, https://arxiv.org/abs/2106.13474, for domains' words and
    their first embeddings.
    """
    if not isinstance(tokenizer, WordPiece):
        raise ValueError(
            f"Words are appended to a WordPiece vocabulary; this one is {tokenizer.kind}."
        )
    for name, value in (("num_entries", num_entries), ("min_frequency", min_frequency)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1; received {value}.")
    normalizer = bert_normalizer.reference(tokenizer.lowercase, tokenizer.strip_accents)
    cutting = word_counts.wordpiece_cutting(
        normalizer, lowercase=tokenizer.lowercase, longest=MAX_WORD
    )
    counted = word_counts.count_words(documents, cutting, max_megabytes=max_megabytes, seed=seed)
    frequent = sorted(word for word, count in counted.items() if count >= min_frequency)
    known = set(tokenizer.vocabulary)
    saved = {}
    for word, encoding in zip(frequent, tokenizer.encode(frequent), strict=True):
        # A word that is no word by itself, as one that was stripped of accents, is left out.
        is_cut = len(encoding.ids) > 1 and tokenizer.unknown_id not in encoding.ids
        if is_cut and word not in known:
            saved[word] = counted[word] * (len(encoding.ids) - 1)
    if not saved:
        raise ValueError(
            f"The text holds no word that occurs {min_frequency} times and is cut into pieces: "
            "the vocabulary fits it as it is. Lower min_frequency to look at rarer ones."
        )
    words = sorted(saved, key=lambda word: (-saved[word], word))[:num_entries]
    return WordPiece(
        [*tokenizer.vocabulary, *words],
        lowercase=tokenizer.lowercase,
        strip_accents=tokenizer.strip_accents,
    )
