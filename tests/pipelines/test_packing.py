"""Packing of rows, against keras-hub's packer and by hand."""

import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfpt.pipelines.packing import pack_segments

CLS, SEP = 2, 3


def pack(*texts, sequence_length):
    segments = [tf.ragged.constant(text, dtype=tf.int32, ragged_rank=1) for text in texts]
    packed = pack_segments(segments, sequence_length=sequence_length, cls_id=CLS, sep_id=SEP)
    return [tensor.numpy().tolist() for tensor in packed]


def random_texts(num_rows, longest, seed):
    random = np.random.default_rng(seed)
    lengths = random.integers(0, longest + 1, num_rows)
    return tf.RaggedTensor.from_row_lengths(
        tf.constant(random.integers(5, 1000, lengths.sum()), tf.int32), lengths
    )


def keras_hub_rows(segments, sequence_length):
    packer = keras_hub.layers.MultiSegmentPacker(
        sequence_length=sequence_length, start_value=CLS, end_value=SEP, pad_value=0
    )
    token_ids, segment_ids = tf.function(lambda *parts: packer(parts))(*segments)
    return np.asarray(token_ids), np.asarray(segment_ids)


def test_one_text_is_framed_and_padded():
    assert pack([[7, 8]], sequence_length=6) == [
        [[CLS, 7, 8, SEP, 0, 0]],
        [[0, 0, 0, 0, 0, 0]],
        [[1, 1, 1, 1, 0, 0]],
    ]


def test_a_pair_has_two_separators_and_its_second_text_is_segment_one():
    assert pack([[7, 8]], [[9]], sequence_length=8) == [
        [[CLS, 7, 8, SEP, 9, SEP, 0, 0]],
        [[0, 0, 0, 0, 1, 1, 0, 0]],
        [[1, 1, 1, 1, 1, 1, 0, 0]],
    ]


def test_rows_are_filled_up_with_the_token_given():
    segments = [tf.ragged.constant(text, dtype=tf.int32) for text in ([[7], []], [[9], [8, 8]])]
    for texts, expected in (
        (segments[:1], [[CLS, 7, SEP, 1, 1, 1], [CLS, SEP, 1, 1, 1, 1]]),
        (segments, [[CLS, 7, SEP, 9, SEP, 1], [CLS, SEP, 8, 8, SEP, 1]]),
    ):
        rows, _, _ = pack_segments(texts, sequence_length=6, cls_id=CLS, sep_id=SEP, pad_id=1)
        assert rows.numpy().tolist() == expected


def test_empty_texts_leave_the_special_tokens():
    assert pack([[], []], sequence_length=3)[0] == [[CLS, SEP, 0], [CLS, SEP, 0]]
    assert pack([[]], [[]], sequence_length=5) == [
        [[CLS, SEP, SEP, 0, 0]],
        [[0, 0, 1, 0, 0]],
        [[1, 1, 1, 0, 0]],
    ]


def test_long_texts_are_cut_at_their_end_and_keep_their_separators():
    assert pack([[5, 6, 7, 8, 9]], sequence_length=4)[0] == [[CLS, 5, 6, SEP]]
    # Five places in turns: a, b, a, b, a.
    assert pack([[5, 6, 7, 8]], [[11, 12, 13, 14]], sequence_length=8)[0] == [
        [CLS, 5, 6, 7, SEP, 11, 12, SEP]
    ]


def test_a_short_text_leaves_its_places_to_the_other():
    long = [11, 12, 13, 14, 15, 16]
    assert pack([[5]], [long], sequence_length=8)[0] == [[CLS, 5, SEP, 11, 12, 13, 14, SEP]]
    assert pack([long], [[5]], sequence_length=8)[0] == [[CLS, 11, 12, 13, 14, SEP, 5, SEP]]


def test_no_rows_give_no_rows():
    assert pack(np.zeros([0, 0]).tolist(), sequence_length=4) == [[], [], []]


@pytest.mark.parametrize("sequence_length", [5, 6, 7, 16, 17, 64])
@pytest.mark.parametrize("num_texts", [1, 2])
def test_rows_equal_those_of_keras_hub(num_texts, sequence_length):
    segments = [random_texts(300, 24, seed) for seed in range(num_texts)]
    token_ids, segment_ids, padding_mask = pack_segments(
        segments, sequence_length=sequence_length, cls_id=CLS, sep_id=SEP
    )
    expected_ids, expected_segments = keras_hub_rows(segments, sequence_length)
    np.testing.assert_array_equal(token_ids, expected_ids)
    np.testing.assert_array_equal(segment_ids, expected_segments)
    np.testing.assert_array_equal(padding_mask, expected_ids != 0)


def test_strings_give_the_rows_of_the_preprocessor_of_keras_hub():
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "the",
        "film",
        "un",
        "##fold",
        "##s",
    ]
    tokenizer = keras_hub.tokenizers.BertTokenizer(vocabulary, lowercase=True)
    preprocessor = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=9)
    texts = tf.constant(["The film unfolds", "", "the the the the film unfolds the film", "qqq"])
    expected = preprocessor(texts)
    # Eagerly keras-hub's tokenizer returns lists, in a function ragged tensors.
    segments = tf.function(lambda strings: tokenizer(strings))(texts)
    packed = pack_segments([segments], sequence_length=9, cls_id=CLS, sep_id=SEP)
    for name, tensor in zip(("token_ids", "segment_ids", "padding_mask"), packed, strict=True):
        np.testing.assert_array_equal(tensor, np.asarray(expected[name], np.int32))


def test_a_function_gives_the_same_rows_with_a_static_length_and_core_operations_only():
    segments = [random_texts(50, 20, seed) for seed in (3, 4)]
    function = tf.function(
        lambda a, b: pack_segments([a, b], sequence_length=12, cls_id=CLS, sep_id=SEP),
        input_signature=[tf.RaggedTensorSpec([None, None], tf.int32)] * 2,
    )
    graph = function.get_concrete_function()
    assert [output.shape.as_list() for output in graph.outputs] == [[None, 12]] * 3
    assert not [op.type for op in graph.graph.get_operations() if ">" in op.type]
    eager = pack_segments(segments, sequence_length=12, cls_id=CLS, sep_id=SEP)
    for left, right in zip(function(*segments), eager, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(("num_texts", "sequence_length"), [(1, 2), (2, 4), (1, 0)])
def test_a_row_without_room_for_the_texts_is_refused(num_texts, sequence_length):
    with pytest.raises(ValueError, match=f"at least .* received {sequence_length}"):
        pack(*[[[7]]] * num_texts, sequence_length=sequence_length)


@pytest.mark.parametrize("num_texts", [0, 3])
def test_other_than_one_or_two_texts_are_refused(num_texts):
    with pytest.raises(ValueError, match=f"one or two texts; received {num_texts}"):
        pack(*[[[7]]] * num_texts, sequence_length=16)
