"""BERT's encoder in NumPy, float64, one operation after the other; and what adapts it.

Written from the papers, for tests to compare with. Weights by the paths of tfpt's encoder; of a
backbone of keras-hub by `of_keras_hub`.
"""

import math

import numpy as np

EPSILON = 1e-12


def norm(x, weights, name):
    centered = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centered**2).mean(-1, keepdims=True) + EPSILON)
    return centered / deviation * weights[f"{name}/scale"] + weights[f"{name}/offset"]


def gelu(x):
    return 0.5 * x * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))


def approximate_gelu(x):
    """That of keras-hub. Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415."""
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    exponents = np.exp(x - x.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def linear(x, weights, name, *, scale=1.0):
    """x W + b, with LoRA, IA3 or an adapter where the weights have one of that map."""
    kernel, bias = weights[f"{name}/kernel"], weights[f"{name}/bias"]
    given = x * weights.get(f"{name}/ia3/scale", 1.0)
    y = given @ kernel + bias
    if f"{name}/lora/down" in weights:
        y = y + scale * (x @ weights[f"{name}/lora/down"]) @ weights[f"{name}/lora/up"]
    y = y * weights.get(f"{name}/ia3/of_output", 1.0)
    if f"{name}/adapter/down" in weights:
        adapter = f"{name}/adapter"
        inner = gelu(y @ weights[f"{adapter}/down"] + weights[f"{adapter}/down_bias"])
        y = y + inner @ weights[f"{adapter}/up"] + weights[f"{adapter}/up_bias"]
    return y


def encode(inputs, weights, *, num_layers, num_heads, scale=1.0, activation=gelu):
    """float64 (B, T, H): the states of the last layer.

    Args:
        inputs: `token_ids`, `segment_ids` and `padding_mask`.
        weights: By path, with maps `layer_N/query`, `key`, `value`, `attention_output`,
            `intermediate`, `output`; norms `layer_N/attention_norm`, `output_norm`.
        scale: Of what LoRA adds.
        activation: Inside of the feed-forward block.
    """
    ids, segments = inputs["token_ids"], inputs["segment_ids"]
    x = weights["token_embedding"][ids] + weights["segment_embedding"][segments]
    x = norm(x + weights["position_embedding"][: ids.shape[1]], weights, "embedding_norm")
    visible = inputs["padding_mask"].astype(bool)
    if "prompts" in weights:
        more = weights["prompts"]
        x = np.concatenate([x, np.repeat(more[None], len(x), axis=0)], axis=1)
        visible = np.concatenate([visible, np.ones((len(x), len(more)), bool)], axis=1)
    for number in range(num_layers):
        x = _layer(x, visible, weights, f"layer_{number}", (num_heads, scale, activation))
    return x[:, : ids.shape[1]]


def _layer(x, visible, weights, name, numbers):
    num_heads, scale, activation = numbers
    rows, length, width = x.shape
    heads = []
    for role in ("query", "key", "value"):
        y = linear(x, weights, f"{name}/{role}", scale=scale)
        heads.append(y.reshape(rows, length, num_heads, -1).transpose(0, 2, 1, 3))
    query, key, value = heads
    if f"{name}/prefix/keys" in weights:
        key, value = (
            np.concatenate([part, np.repeat(weights[f"{name}/prefix/{kind}"][None], rows, 0)], 2)
            for part, kind in ((key, "keys"), (value, "values"))
        )
        more = np.ones((rows, key.shape[2] - length), bool)
        visible = np.concatenate([visible, more], axis=1)
    scores = query @ key.transpose(0, 1, 3, 2) / math.sqrt(query.shape[-1])
    shares = softmax(np.where(visible[:, None, None, :], scores, -np.inf))
    mixed = (shares @ value).transpose(0, 2, 1, 3).reshape(rows, length, width)
    mixed = linear(mixed, weights, f"{name}/attention_output", scale=scale)
    x = norm(x + mixed, weights, f"{name}/attention_norm")
    inner = activation(linear(x, weights, f"{name}/intermediate", scale=scale))
    inner = linear(inner, weights, f"{name}/output", scale=scale)
    return norm(x + inner, weights, f"{name}/output_norm")


def of_tfpt(encoder):
    """The weights of an encoder of `models.encoder`, as `encode` takes them."""
    values = {weight.path: np.asarray(weight, np.float64) for weight in encoder.weights}
    found = {}
    for path, value in values.items():
        name, _, kind = path.rpartition("/")
        if name.endswith("query_key_value"):
            layer = name.removesuffix("/query_key_value")
            for role, part in zip(("query", "key", "value"), np.split(value, 3, -1), strict=True):
                found[f"{layer}/{role}/{kind}"] = part
        elif "query_key_value/" not in name:
            found[path.replace("output_projection", "output")] = value
    _add_parts(values, found, "lora", {"down": "lora/down", "up": "lora/up"})
    _add_parts(values, found, "ia3", {"scale": "ia3/of_output"})
    _add_triplets(found, values)
    for name in ("token", "segment", "position"):
        found[f"{name}_embedding"] = values[f"{name}_embedding/embeddings"]
    for kind in ("scale", "offset"):
        found[f"embedding_norm/{kind}"] = values[f"position_embedding/norm/{kind}"]
    if "layer_0/prompts/embeddings" in values:
        found["prompts"] = values["layer_0/prompts/embeddings"]
    return found


# Of which of queries, keys and values the parts of a delta are, as the tests choose them.
ROLES_OF = {"lora": ("query", "value"), "ia3": ("key", "value")}


def _add_parts(values, found, method, names):
    for path, value in values.items():
        layer, together, kind = path.partition(f"/query_key_value/{method}/")
        if together:
            kind, _, number = kind.partition("_")
            found[f"{layer}/{ROLES_OF[method][int(number)]}/{names[kind]}"] = value


def _add_triplets(found, values):
    """AdaLoRA as LoRA: the singular values go with the columns of P."""
    for path, value in values.items():
        for number, role in enumerate(ROLES_OF["lora"]):
            part = f"/query_key_value/adalora/part_{number}/down"
            if path.endswith(part):
                singular = values[path.removesuffix("down") + "singular"]
                name = f"{path.removesuffix(part)}/{role}/lora"
                found[f"{name}/down"] = value * singular
                found[f"{name}/up"] = values[path.removesuffix("down") + "up"]


def of_keras_hub(backbone):
    """The same of a BertBackbone."""
    renamed = (
        ("transformer_layer_", "layer_"),
        ("self_attention_layer_norm", "attention_norm"),
        ("self_attention_layer/", ""),
        ("feedforward_layer_norm", "output_norm"),
        ("feedforward_intermediate_dense", "intermediate"),
        ("feedforward_output_dense", "output"),
        ("embeddings_layer_norm", "embedding_norm"),
        ("/gamma", "/scale"),
        ("/beta", "/offset"),
        ("token_embedding/embeddings", "token_embedding"),
        ("segment_embedding/embeddings", "segment_embedding"),
        ("position_embedding/embeddings", "position_embedding"),
        ("layer_0/prompts/embeddings", "prompts"),
        ("lora/down_0", "lora/down"),
        ("lora/up_0", "lora/up"),
        ("ia3/scale_0", "ia3/of_output"),
    )
    width = backbone.hidden_dim
    found = {}
    for weight in backbone.weights:
        path = weight.path
        for theirs, ours in renamed:
            path = path.replace(theirs, ours)
        value = np.asarray(weight, np.float64)
        if path.endswith("/kernel") and value.ndim == 3:
            value = value.reshape(width, -1) if "attention_output" not in path else value
            value = value.reshape(-1, width) if "attention_output" in path else value
        if path.endswith("/bias"):
            value = value.reshape(-1)
        found[path] = value
    for path in [path for path in found if path.endswith("adalora/part_0/down")]:
        name = path.removesuffix("adalora/part_0/down")
        found[f"{name}lora/down"] = found[path] * found[f"{name}adalora/part_0/singular"]
        found[f"{name}lora/up"] = found[f"{name}adalora/part_0/up"]
    return found
