"""What a method trains beside the weights of an encoder, as layers.

Those of linear maps have `before`, which changes what the map is given, and `after`, which changes
what it gives, bias included; where both are linear, `merged` gives a kernel and a bias that do the
same alone. All begin as what changes nothing, or next to nothing.

Shape letters: M rows of a product, I its inner width, O its outer width, N columns of it that are
asked for, r rank, B rows, T tokens in a row, P prompts, A heads, D width of a head, H hidden width.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfpt import config
from tfpt.models import fused
from tfpt.models.layers import initializer

ALL = slice(None)


class Part(keras.layers.Layer):
    """What is added to a layer: its weights are float32, whatever that layer computes in."""

    def add_float32(self, name: str, shape: Sequence[int], initializer: Any, **more: Any) -> Any:
        """A weight that no policy casts."""
        return self.add_weight(
            name=name,
            shape=tuple(shape),
            initializer=initializer,
            dtype="float32",
            autocast=False,
            **more,
        )


class Delta(Part):
    """Changes nothing: what the others do not change, they leave to it."""

    dropout_rate = 0.0  # the share of what it is given that it drops in training

    def before(self, x):
        """float (M, I) -> (M, I)."""
        return x

    def after(self, x, y, columns: slice = ALL, noise: Any = None):
        """What the map was given (M, I) and what it gave, float32 (M, N) -> float32 (M, N).

        Args:
            x: From `before`.
            y: With the bias.
            columns: Which N of the O columns `y` has.
            noise: uint8 (M, I), which elements of x are dropped; None: none. See `fused.dropout`.
        """
        return y

    def merged(self, kernel, bias):
        """float32 (I, O) and (O,) -> the same of a map without this."""
        return kernel, bias


class LowRank(Delta):
    """LoRA: y + alpha / r * (x A) B, with factors of its own for each part of the columns.

    A is drawn, B begins as zeros. In training some of x may be dropped, the same for all parts.

    Args:
        parts: Ranges of the O columns, in order, such as those of queries and of values.
        adaptation: Its `rank`, `dropout_rate` and `alpha`, which scales the delta, so that the
            learning rate need not follow the rank.
        product_dtype: Of the operands of products.

    Source: Hu et al. 2022, section 4.1, https://arxiv.org/abs/2106.09685, and its code.
    """

    def __init__(
        self,
        parts: Sequence[slice],
        adaptation: config.Adaptation,
        product_dtype: str,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.parts = list(parts)
        self.rank = adaptation.rank
        self.scale = adaptation.alpha / adaptation.rank
        self.dropout_rate = adaptation.dropout_rate
        self.product_dtype = product_dtype

    def build(self, kernel_shape):
        width, self.num_columns = kernel_shape
        self.down, self.up = [], []
        for number, part in enumerate(self.parts):
            first, last, _ = part.indices(self.num_columns)
            # Uniform within 1 / sqrt(I). An initializer gives all its weights the same numbers.
            drawn = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
            self.down.append(self.add_float32(f"down_{number}", (width, self.rank), drawn))
            self.up.append(self.add_float32(f"up_{number}", (self.rank, last - first), "zeros"))

    def after(self, x, y, columns: slice = ALL, noise: Any = None):
        x = fused.dropout(x, noise, self.dropout_rate)
        inner = fused.matmul(x, self._down(), self.product_dtype)
        more = fused.matmul(inner, self._up()[:, columns], self.product_dtype)
        return y + self.scale * tf.cast(more, tf.float32)

    def merged(self, kernel, bias):
        return kernel + self.scale * self._down() @ self._up(), bias

    def _down(self):
        """(I, parts * r)."""
        return tf.concat([tf.convert_to_tensor(one) for one in self.down], axis=1)

    def _up(self):
        """(parts * r, O)."""
        return at_columns(self.up, self.parts, self.num_columns)


def at_columns(factors: Sequence[Any], parts: Sequence[slice], num_columns: int) -> Any:
    """float32 (r, W) for each part -> (parts * r, O): each at its columns, zeros at others."""
    rows = []
    for one, part in zip(factors, parts, strict=True):
        first, last, _ = part.indices(num_columns)
        rows.append(tf.pad(one, [[0, 0], [first, num_columns - last]]))
    return tf.concat(rows, axis=0)


class OutputScale(Delta):
    """IA3 at keys and values: y * l, with an l for each part of the columns; ones at first.

    As a `scale` the optimizer does not draw it to 0.

    Source: Liu et al. 2022, section 3.3, https://arxiv.org/abs/2205.05638.
    """

    def __init__(self, parts: Sequence[slice], **kwargs: Any):
        super().__init__(**kwargs)
        self.parts = list(parts)

    def build(self, kernel_shape):
        self.num_columns = kernel_shape[1]
        self.scales = []
        for number, part in enumerate(self.parts):
            first, last, _ = part.indices(self.num_columns)
            self.scales.append(self.add_float32(f"scale_{number}", (last - first,), "ones"))

    def after(self, x, y, columns: slice = ALL, noise: Any = None):
        return y * self._scales()[columns]

    def merged(self, kernel, bias):
        return kernel * self._scales(), bias * self._scales()

    def _scales(self):
        """(O,)."""
        whole, end = [], 0
        for one, part in zip(self.scales, self.parts, strict=True):
            first, last, _ = part.indices(self.num_columns)
            whole += [tf.ones([first - end]), tf.convert_to_tensor(one)]
            end = last
        return tf.concat([*whole, tf.ones([self.num_columns - end])], axis=0)


class InputScale(Delta):
    """IA3 inside of the feed-forward block: the activations, which a map is given, times l."""

    def build(self, kernel_shape):
        self.scale = self.add_float32("scale", kernel_shape[:1], "ones")

    def before(self, x):
        return x * tf.cast(self.scale, x.dtype)

    def merged(self, kernel, bias):
        return tf.convert_to_tensor(self.scale)[:, None] * kernel, bias


class Bottleneck(Delta):
    """An adapter: y + gelu(y D + d) U + u, with a narrow middle.

    Both kernels begin near zero, so that it changes next to nothing.

    Args:
        width: Of the middle.
        product_dtype: Of the operands of products.

    Source: Houlsby et al. 2019, section 2.1 and 3.6, https://arxiv.org/abs/1902.00751.
    """

    def __init__(self, width: int, product_dtype: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.width = width
        self.product_dtype = product_dtype

    def build(self, kernel_shape):
        outer = kernel_shape[1]
        self.down = self.add_float32("down", (outer, self.width), initializer(1e-2))
        self.down_bias = self.add_float32("down_bias", (self.width,), "zeros")
        self.up = self.add_float32("up", (self.width, outer), initializer(1e-2))
        self.up_bias = self.add_float32("up_bias", (outer,), "zeros")

    def after(self, x, y, columns: slice = ALL, noise: Any = None):
        dtype = self.product_dtype
        inner = fused.bias_gelu(fused.matmul(y, self.down, dtype), self.down_bias, dtype=dtype)
        more = fused.matmul(inner, self.up, dtype)
        return y + tf.cast(more, tf.float32) + self.up_bias


class Prefix(Part):
    """P keys and values of a layer that its tokens attend to besides those of their row.

    They follow those of the row: attention knows no order. Trained as they are, as in P-tuning v2;
    the network that Li and Liang draw them from is only there to train it.

    Args:
        num_tokens: P.
        num_heads: A.
        head_dim: D.

    Sources: Li and Liang 2021, section 4, https://arxiv.org/abs/2101.00190; Liu et al. 2022,
    section 3, https://arxiv.org/abs/2110.07602.
    """

    def __init__(self, num_tokens: int, num_heads: int, head_dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_tokens = num_tokens
        self.shape = (num_heads, num_tokens, head_dim)

    def build(self, _=None):
        self.keys = self.add_float32("keys", self.shape, initializer())
        self.values = self.add_float32("values", self.shape, initializer())

    def appended(self, key, value):
        """(B, A, T, D) each -> (B, A, T + P, D)."""
        rows = fused.shape_of(key)[0]
        return tuple(
            tf.concat([given, _repeated(tf.cast(own, given.dtype), rows)], axis=2)
            for given, own in ((key, self.keys), (value, self.values))
        )


class Prompts(Part):
    """P states that stand behind the embeddings of each row, and go through all layers.

    They follow the row, so that its tokens keep their places. They begin as embeddings of tokens,
    drawn from the most frequent ones, which the paper finds better than random numbers.

    Args:
        rows: float32 (P, H), what they begin as.

    Source: Lester et al. 2021, section 3.2, https://arxiv.org/abs/2104.08691.
    """

    def __init__(self, rows: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_tokens = len(rows)
        self.rows = rows

    def build(self, _=None):
        self.embeddings = self.add_float32(
            "embeddings", self.rows.shape, lambda shape, dtype=None: self.rows
        )

    def appended(self, x):
        """float32 (B, T, H) -> (B, T + P, H)."""
        own = _repeated(tf.cast(self.embeddings, x.dtype), fused.shape_of(x)[0])
        return tf.concat([x, own], axis=1)


def _repeated(x, rows):
    """(...) -> (rows, ...)."""
    return tf.tile(x[None], [rows, *[1] * x.shape.rank])
