"""Documents that are too short or too long."""

from tfpt.pipelines.cleaning.words import document_words


def length_problem(document: tuple[str, ...], min_words: int, max_words: int) -> tuple[str, str]:
    """Why a document is dropped, and its number of words; ("", "") where it stays.

    Args:
        document: Sentences.
        min_words: The fewest words of a document that stays.
        max_words: The most; 0 is no limit.
    """
    count = len(document_words(document))
    if count < min_words:
        return "too short", f"{count:,} words"
    if max_words and count > max_words:
        return "too long", f"{count:,} words"
    return "", ""
