"""Small SavedModels made with plain TensorFlow, and one server for the tests that only ask."""

import http.client
import json

import pytest
import tensorflow as tf

from tfpt import serving


class Sentiment(tf.Module):
    """Texts with "good" are positive; the vocabulary makes it a model with a file and a table."""

    def __init__(self, vocabulary_file):
        super().__init__()
        self.bias = tf.Variable(0.25, dtype=tf.float32)
        self.table = tf.lookup.StaticVocabularyTable(
            tf.lookup.TextFileInitializer(
                vocabulary_file,
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            num_oov_buckets=1,
        )

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="text")])
    def classify(self, text):
        words = tf.strings.split(text)
        good = tf.cast(self.table.lookup(words.values) == 0, tf.float32)
        counts = tf.reduce_sum(words.with_values(good), axis=1)
        positive = tf.sigmoid(counts * 3.0 - 1.0 + self.bias)
        scores = tf.stack([1.0 - positive, positive], axis=1)
        labels = tf.gather(tf.constant(["schlecht", "größer"]), tf.argmax(scores, axis=1))
        return {"label": labels, "score": tf.reduce_max(scores, axis=1), "scores": scores}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="text")])
    def mark(self, text):
        return {"marked_bytes": tf.strings.join([tf.constant(b"\xff"), text])}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="text")])
    def not_text(self, text):
        return {"broken": tf.strings.join([tf.constant(b"\xff\xfe"), text])}


class Numbers(tf.Module):
    """Two inputs of different types, and outputs of every awkward kind."""

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, 3), tf.float32, name="a"),
            tf.TensorSpec((None,), tf.int32, name="b"),
        ]
    )
    def combine(self, a, b):
        return {"total": a + tf.cast(b, tf.float32)[:, None], "twice": tf.cast(b, tf.int64) * 2}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
    def kinds(self, x):
        return {
            "log": tf.math.log(x),
            "negative": x < 0,
            "half": tf.cast(x, tf.bfloat16),
            "wide": tf.cast(x, tf.float64) / 3,
            "byte": tf.cast(x, tf.uint8),
        }

    @tf.function(input_signature=[tf.TensorSpec((None, 1), tf.float32, name="x")])
    def half(self, x):
        return {"y": x / 2}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
    def mean(self, x):
        return {"mean": tf.reduce_mean(x), "first": x[:1]}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
    def picky(self, x):
        with tf.control_dependencies([tf.debugging.assert_positive(x, message="x must rise")]):
            return {"y": tf.identity(x)}

    @tf.function(input_signature=[tf.TensorSpec((), tf.int32, name="steps")])
    def spin(self, steps):
        matrix = tf.eye(200)
        for _ in tf.range(steps):
            matrix = tf.matmul(matrix, matrix)
        return {"trace": tf.linalg.trace(matrix)}


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A folder with the models `text` (version 1) and `numbers` (versions 3 and 20)."""
    folder = tmp_path_factory.mktemp("models")
    vocabulary = tmp_path_factory.mktemp("vocabulary") / "vocabulary.txt"
    vocabulary.write_text("good\nbad\nfilm\n")
    text = Sentiment(str(vocabulary))
    tf.saved_model.save(
        text,
        str(folder / "text" / "1"),
        signatures={
            "serving_default": text.classify,
            "mark": text.mark,
            "not_text": text.not_text,
        },
    )
    vocabulary.unlink()  # a served model has its own copy
    numbers = Numbers()
    for version in ("00000003", "20"):
        tf.saved_model.save(
            numbers,
            str(folder / "numbers" / version),
            signatures={
                "serving_default": numbers.combine,
                "kinds": numbers.kinds,
                "half": numbers.half,
                "mean": numbers.mean,
                "picky": numbers.picky,
                "spin": numbers.spin,
            },
        )
    return folder


@pytest.fixture(scope="session")
def server(models):
    """A server of both models, all versions; for tests that leave it as it is."""
    folders = {"text": models / "text", "numbers": models / "numbers"}
    with serving.Server(folders, rest_port=0, grpc_port=0, versions="all") as running:
        yield running


@pytest.fixture(scope="module")
def rest(server):
    """A function that sends a raw request to `server` and gives status and body."""

    def ask(path, body=None, *, method=None):
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        method = method or ("GET" if body is None else "POST")
        connection = http.client.HTTPConnection(server.address, timeout=60)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            assert response.getheader("Content-Type") == "application/json"
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    return ask
