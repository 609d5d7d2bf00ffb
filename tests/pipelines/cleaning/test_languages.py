"""Languages of documents."""

import pytest

from tfpt.pipelines.cleaning.languages import check_languages, document_language, known_languages


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (("Once upon a time there was a little girl who lived in the woods.",), "en"),
        (("Il était une fois une petite fille", "qui vivait dans la forêt."), "fr"),
        (("床前明月光\uff0c疑是地上霜。", "举头望明月\uff0c低头思故乡。"), "zh"),
        (("בראשית ברא אלהים את השמים ואת הארץ",), "he"),
        (("12345 67890",), "unsure"),
        (("😀",), "unsure"),
        ((), "unsure"),
    ],
)
def test_the_language_of_a_document_is_told(document, code):
    found, confidence = document_language(document, 0.5)
    assert found == code
    assert 0 <= confidence <= 1


def test_what_is_less_sure_than_asked_for_is_unsure():
    document = ("Once upon a time",)
    code, confidence = document_language(document, 0.0)
    assert document_language(document, confidence)[0] == code
    assert document_language(document, confidence + 0.0001)[0] == "unsure"


def test_of_a_long_document_beginning_middle_and_end_count():
    english = "Once upon a time there was a little girl who lived in the woods. " * 100
    assert document_language((english,), 0.5)[0] == "en"
    assert document_language((english, "床前明月光\uff0c" * 3), 0.5)[0] == "en"


def test_what_is_told_is_what_the_library_tells(monkeypatch):
    """Our own order of adding changes nothing but the last digits, and is the one in use."""
    from py3langid import langid

    from tfpt.pipelines.cleaning import languages

    theirs = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    used = []
    ours = languages._identifier()
    own = type(ours)._sparse_score
    monkeypatch.setattr(
        type(ours), "_sparse_score", lambda *given: used.append(given) or own(*given)
    )
    for text in ("Once upon a time", "Es war einmal", "\u5e8a\u524d\u660e\u6708\u5149", "a", "1"):
        code, confidence = theirs.classify(text)
        found = ours.classify(text)
        assert found[0] == code
        assert found[1] == pytest.approx(confidence, abs=1e-4)
    assert len(used) == 3  # a letter and a digit tell nothing


def test_a_language_that_is_not_known_is_named():
    assert {"en", "zh", "ar"} <= set(known_languages())
    check_languages(("en", "zh"))
    with pytest.raises(ValueError, match=r"`keep_languages` has qq, which .* Known are .*en, "):
        check_languages(("en", "qq"))
