"""Methods of parameter-efficient fine-tuning, on encoders of tfpt and of keras-hub."""

import re

import keras
import keras_hub
import numpy as np
import plain_bert
import pytest
import safetensors
import safetensors.numpy
import tiny_bert
from test_transfer import batch

from tfpt import config, models, objectives, peft, training
from tfpt.peft import places

LAYERS, HEADS, WIDTH, INNER = 2, 2, 16, 32
RANK, ALPHA, MIDDLE, TOKENS = 3, 7.0, 5, 4
METHODS = {
    "lora": {"rank": RANK, "alpha": ALPHA},
    "adalora": {"rank": RANK, "alpha": ALPHA, "target_rank": 2},
    "ia3": {},
    "adapters": {"width": MIDDLE},
    "prefix_tuning": {"num_tokens": TOKENS},
    "prompt_tuning": {"num_tokens": TOKENS},
    "bitfit": {},
}
ALL = pytest.mark.parametrize("method", METHODS)
MERGEABLE = pytest.mark.parametrize("method", ["lora", "adalora", "ia3", "bitfit"])
KINDS = pytest.mark.parametrize("kind", ["tfpt", "keras-hub"])
SOME = pytest.mark.parametrize(
    ("method", "kind"), [*((method, "tfpt") for method in METHODS), ("prefix_tuning", "keras-hub")]
)
# Of weights that are trained, of one layer: by hand.
PER_LAYER = {
    "lora": 2 * (WIDTH * RANK + RANK * WIDTH),
    "adalora": 2 * (WIDTH * RANK + RANK + RANK * WIDTH),
    "ia3": WIDTH + WIDTH + INNER,
    "adapters": 2 * (2 * WIDTH * MIDDLE + MIDDLE + WIDTH) + 4 * WIDTH,
    "prefix_tuning": 2 * TOKENS * WIDTH,
    "prompt_tuning": 0,
    "bitfit": 3 * WIDTH + WIDTH + INNER + WIDTH + 2 * WIDTH,
}
ONCE = {"prompt_tuning": TOKENS * WIDTH, "bitfit": WIDTH}
POOLER = WIDTH * WIDTH + WIDTH


def encoder(kind="tfpt", *, dropout_rate=0.0, seed=1):
    keras.utils.set_random_seed(seed)
    if kind == "tfpt":
        size = tiny_bert.size(num_layers=LAYERS, dropout_rate=dropout_rate)
        return models.encoder(size, tiny_bert.V)
    return keras_hub.models.BertBackbone(
        vocabulary_size=tiny_bert.V,
        num_layers=LAYERS,
        num_heads=HEADS,
        hidden_dim=WIDTH,
        intermediate_dim=INNER,
        max_sequence_length=16,
        dropout=dropout_rate,
    )


def adapted(method, kind="tfpt", **changes):
    return getattr(peft, method)(encoder(kind, **changes), **METHODS[method])


def inputs(seed=0):
    found = tiny_bert.rows(seed=seed)[0]
    del found["mask_positions"]
    return found


def scatter(model, *, of="trainable", size=0.3):
    """Move weights at random, so that nothing of a method is 0 or 1 any more."""
    random = np.random.default_rng(0)
    weights = model.trainable_weights if of == "trainable" else model.weights
    for weight in weights:
        weight.assign(np.asarray(weight) + random.normal(0, size, weight.shape))


def classifier(given):
    keras.utils.set_random_seed(2)
    read = models.at_first(given) if given.name == "encoder" else given
    return objectives.model(given, objectives.classification(read, num_classes=2, dropout_rate=0.0))


@KINDS
@ALL
def test_states_are_those_of_the_formulas(method, kind):
    """Against NumPy in float64; the first weights, and the dull ones of a new model, are moved."""
    found = adapted(method, kind)
    scatter(found, of="all", size=0.1)
    scatter(found)
    of, activation = {
        "tfpt": (plain_bert.of_tfpt, plain_bert.gelu),
        "keras-hub": (plain_bert.of_keras_hub, plain_bert.approximate_gelu),
    }[kind]
    numbers = {"num_layers": LAYERS, "num_heads": HEADS, "scale": ALPHA / RANK}
    expected = plain_bert.encode(inputs(), of(found), **numbers, activation=activation)
    states = np.asarray(found(inputs())["sequence_output"])
    used = inputs()["padding_mask"].astype(bool)
    np.testing.assert_allclose(states[used], expected[used], rtol=2e-5, atol=2e-5)
    before = np.asarray(encoder(kind)(inputs())["sequence_output"])
    assert np.abs(before - states).max() > 1e-2


@KINDS
@pytest.mark.parametrize("method", ["lora", "adalora", "ia3", "bitfit"])
def test_at_first_nothing_is_changed(method, kind):
    found = adapted(method, kind)(inputs())["sequence_output"]
    expected = encoder(kind)(inputs())["sequence_output"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@KINDS
def test_an_adapter_begins_next_to_nothing(kind):
    found = adapted("adapters", kind)(inputs())["sequence_output"]
    expected = encoder(kind)(inputs())["sequence_output"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
    assert np.abs(found - expected).max() > 0


@KINDS
@ALL
def test_what_is_trained_is_counted(method, kind):
    found = peft.counts(adapted(method, kind))
    number = LAYERS * PER_LAYER[method] + ONCE.get(method, 0)
    assert found.trainable == number + POOLER
    given = encoder(kind)
    once = 0 if method == "bitfit" else ONCE.get(method, 0)
    per_layer = {"bitfit": 0, "adapters": PER_LAYER["adapters"] - 4 * WIDTH}
    # AdaLoRA keeps two means of each weight beside, and which triplets there are.
    per_layer["adalora"] = 3 * PER_LAYER["adalora"] + 2 * RANK
    more = LAYERS * per_layer.get(method, PER_LAYER[method]) + once
    assert found.total == given.count_params() + more
    without = getattr(peft, method)(encoder(kind), **METHODS[method], train_pooler=False)
    assert peft.counts(without).trainable == number
    share = f"({found.trainable / found.total:.2%})"
    assert str(found).startswith(
        f"{found.trainable:,} of {found.total:,} weights are trained {share}, "
    )


@ALL
def test_the_size_that_is_told_is_that_of_the_file(method, tmp_path):
    model = adapted(method, "tfpt")
    found = peft.counts(model)
    size = peft.save(model, tmp_path / "delta.safetensors")
    # What a file of safetensors holds besides are names and shapes.
    assert found.kept_bytes < size < found.kept_bytes + 20_000
    assert found.total_bytes == sum(weight.numpy().nbytes for weight in model.weights)
    assert str(found).endswith(
        f", {found.kept_bytes / 1e6:,.1f} of {found.total_bytes / 1e6:,.1f} MB are kept"
    )
    plain = peft.counts(encoder())
    assert plain.kept_bytes == plain.total_bytes == 4 * plain.total


@KINDS
@pytest.mark.parametrize("method", ["lora", "adalora", "adapters", "prefix_tuning"])
def test_what_is_drawn_is_drawn_anew_for_each_weight(method, kind):
    """An initializer of Keras gives all its weights the same numbers."""
    names = re.compile(r".*/(down|up|down_\d|keys|values)")
    found = [
        np.ravel(weight)
        for weight in adapted(method, kind).trainable_weights
        if names.fullmatch(weight.path) and np.any(weight)
    ]
    assert len(found) >= 2 * LAYERS  # those of LoRA that begin as zeros are not drawn
    assert len({tuple(values[:4]) for values in found}) == len(found)


def test_lora_goes_where_it_is_told():
    found = peft.lora(encoder(), rank=RANK, roles=config.ROLES)
    sizes = 4 * (WIDTH + WIDTH) + 2 * (WIDTH + INNER)
    assert peft.counts(found).trainable == LAYERS * RANK * sizes + POOLER
    scatter(found, size=0.1)  # twice as large as the kernels: what rounding makes of more grows
    states = np.asarray(found(inputs())["sequence_output"])
    np.testing.assert_allclose(
        peft.merge(found)(inputs())["sequence_output"], states, rtol=1e-5, atol=1e-5
    )


@ALL
def test_reading_states_in_few_places_is_the_same(method):
    """`at_first` and `at_masks` ask queries and keys for different states."""
    found = adapted(method)
    scatter(found)
    expected = np.asarray(found(inputs())["sequence_output"])
    first = models.at_first(found)(inputs())["pooled_output"]
    np.testing.assert_allclose(first, found(inputs())["pooled_output"], rtol=1e-5, atol=1e-5)
    rows = tiny_bert.rows()[0]
    masked = models.at_masks(found)(rows)["masked_output"]
    at_masks = np.take_along_axis(expected, rows["mask_positions"][..., None], axis=1)
    np.testing.assert_allclose(masked, at_masks, rtol=1e-5, atol=1e-5)


@KINDS
@MERGEABLE
def test_merged_weights_give_the_same(method, kind):
    found = adapted(method, kind)
    scatter(found)
    states = np.asarray(found(inputs())["sequence_output"])
    merged = peft.merge(found)
    np.testing.assert_allclose(merged(inputs())["sequence_output"], states, rtol=1e-5, atol=1e-5)
    plain = encoder(kind)
    assert [weight.path for weight in merged.weights] == [weight.path for weight in plain.weights]
    assert peft.counts(merged).trainable == plain.count_params()
    for weight, value in zip(plain.weights, merged.get_weights(), strict=True):
        weight.assign(value)
    np.testing.assert_allclose(plain(inputs())["sequence_output"], states, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="is not adapted: there is nothing to merge"):
        peft.merge(merged)


@SOME
def test_the_loss_falls_and_only_what_is_trained_moves(method, kind):
    model = classifier(adapted(method, kind))
    training.compile(model, learning_rate=2e-2, total_steps=1_000, weight_decay=0.0)
    trained = {weight.path for weight in model.trainable_weights}
    before = tiny_bert.values(model)
    losses = [model.train_on_batch(*batch(), return_dict=True)["loss"] for _ in range(25)]
    assert losses[-1] < 0.8 * losses[0]
    after = tiny_bert.values(model)
    moved = {path for path in before if (after[path] != before[path]).any()}
    # What AdaLoRA keeps beside: sensitivity, uncertainty, and what is kept.
    moved = {path for path in moved if not path.endswith(("y", "is_kept"))}
    assert moved <= trained
    # What LoRA multiplies by zeros moves from the second step on; all have moved in 25.
    assert moved == trained


@pytest.mark.parametrize(
    "method",
    [
        "lora",
        "prefix_tuning",
        pytest.param("prompt_tuning", marks=pytest.mark.slow),
        pytest.param("adapters", marks=pytest.mark.slow),
    ],
)
def test_what_is_computed_again_is_the_same(method):
    """With dropout, in float32."""
    losses = []
    for rematerialize in (False, True):
        keras.utils.set_random_seed(1)
        size = tiny_bert.size(num_layers=LAYERS, dropout_rate=0.3)
        given = models.encoder(size, tiny_bert.V, rematerialize=rematerialize)
        model = classifier(getattr(peft, method)(given, **METHODS[method]))
        training.compile(model, learning_rate=1e-2, total_steps=100)
        losses.append([model.train_on_batch(*batch(n), return_dict=True)["loss"] for n in range(4)])
    np.testing.assert_allclose(*losses, rtol=1e-5)


@ALL
def test_bfloat16_is_near_to_float32(method):
    values = []
    for dtype in ("float32", "bfloat16"):
        keras.utils.set_random_seed(1)
        given = models.encoder(tiny_bert.size(num_layers=LAYERS), tiny_bert.V, product_dtype=dtype)
        found = getattr(peft, method)(given, **METHODS[method])
        scatter(found, size=0.1)
        values.append(np.asarray(found(inputs())["sequence_output"]))
    np.testing.assert_allclose(*values, atol=6e-2)


@SOME
def test_only_what_is_trained_is_saved(method, kind, tmp_path):
    model = classifier(adapted(method, kind))
    scatter(model)
    size = peft.save(model, tmp_path / "delta.safetensors")
    assert size == (tmp_path / "delta.safetensors").stat().st_size
    there = safetensors.numpy.load_file(tmp_path / "delta.safetensors")
    kept = {weight.path for weight in peft.kept_weights(model)}
    assert set(there) == kept
    beside = {path for path in kept if path.endswith(("y", "is_kept"))}  # sensitivity, uncertainty
    assert bool(beside) == (method == "adalora")
    assert kept - beside == {weight.path for weight in model.trainable_weights}
    again = classifier(encoder(kind))
    peft.load(again, tmp_path / "delta.safetensors")  # adapts it
    np.testing.assert_array_equal(
        again(inputs())["classification"], model(inputs())["classification"]
    )


def test_a_file_for_another_encoder_is_refused(tmp_path):
    path = tmp_path / "delta.safetensors"
    model = classifier(adapted("lora"))
    scatter(model)
    peft.save(model, path)
    other = classifier(adapted("lora", seed=3))
    before = tiny_bert.values(other)
    with pytest.raises(ValueError, match="was trained beside other weights than those of this"):
        peft.load(other, path)
    untouched = classifier(encoder(seed=3))
    with pytest.raises(ValueError, match="was trained beside other weights than those of this"):
        peft.load(untouched, path)
    assert peft.adaptation_of(untouched) is None
    with pytest.raises(ValueError, match=r"of another adaptation: rank is 3 in it, 4 here\."):
        peft.load(classifier(peft.lora(encoder(), rank=4, alpha=ALPHA)), path)
    with pytest.raises(ValueError, match="classification_head/bias is in it, not in the model"):
        peft.load(adapted("lora"), path)
    three = objectives.classification(models.at_first(given := adapted("lora")), num_classes=3)
    with pytest.raises(ValueError, match=r"classification_head/kernel is \(16, 2\) in it, \(16, 3"):
        peft.load(objectives.model(given, three), path)
    after = tiny_bert.values(other)
    assert all((after[name] == value).all() for name, value in before.items())


def test_a_file_that_is_damaged_or_something_else_is_refused(tmp_path):
    path = tmp_path / "delta.safetensors"
    with pytest.raises(FileNotFoundError, match=r"There is no file .*delta\.safetensors"):
        peft.load(encoder(), path)
    peft.save(classifier(adapted("lora")), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"is damaged, or is none of `peft\.save`"):
        peft.load(encoder(), path)
    safetensors.numpy.save_file({"x": np.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"is damaged, or is none of `peft\.save`"):
        peft.load(encoder(), path)
    with pytest.raises(ValueError, match="The encoder is not adapted: save the whole model"):
        peft.save(classifier(encoder()), path)


def test_what_cannot_be_adapted_is_refused():
    with pytest.raises(ValueError, match="is adapted already, by lora"):
        peft.ia3(adapted("lora"))
    packed = models.encoder(tiny_bert.size(), tiny_bert.V, packed=True)
    with pytest.raises(ValueError, match="is a packed one, for pre-training"):
        peft.lora(packed)
    with pytest.raises(ValueError, match=r"`roles` of Adaptation must be some of query, .*values"):
        peft.lora(encoder(), roles=("query", "values"))
    with pytest.raises(ValueError, match=r"`rank` of Adaptation must be a positive number"):
        peft.lora(encoder(), rank=0)
    with pytest.raises(ValueError, match="prompt_tuning cannot be merged into the weights"):
        peft.merge(adapted("prompt_tuning"))
    x = keras.Input((4,))
    plain = keras.Model(x, keras.layers.Dense(2)(x), name="plain")
    with pytest.raises(ValueError, match="The model plain has no layers that are known: give an"):
        peft.lora(plain)
    gpt = keras_hub.models.GPT2Backbone(
        vocabulary_size=9, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8
    )
    with pytest.raises(ValueError, match="has no layers that are known"):
        peft.lora(gpt)


def test_a_role_that_is_not_known_freezes_nothing():
    given = encoder()
    with pytest.raises(ValueError, match="`roles` of Adaptation must be"):
        peft.lora(given, roles=("attention",))
    assert peft.counts(given).trainable == given.count_params()


def test_keras_hub_has_the_layers_that_are_adapted():
    """What has no public name there is what it is taken for; see `places`."""
    (block, *_) = places.blocks(encoder("keras-hub"))
    shapes = {role: tuple(place.layer.kernel.shape) for role, place in block.places.items()}
    heads = (WIDTH, HEADS, WIDTH // HEADS)
    assert shapes == {
        "query": heads,
        "key": heads,
        "value": heads,
        "attention_output": (HEADS, WIDTH // HEADS, WIDTH),
        "intermediate": (WIDTH, INNER),
        "output": (INNER, WIDTH),
    }
    owned = {id(weight) for weight in block.layer.weights}
    assert {id(place.layer.kernel) for place in block.places.values()} <= owned
    assert (block.num_heads, block.head_dim) == (HEADS, WIDTH // HEADS)


def test_plain_keras_trains_and_saves_an_adapted_backbone(tmp_path):
    """Without anything of tfpt but the call."""
    backbone = adapted("lora", "keras-hub", dropout_rate=0.1)
    head = keras.layers.Dense(2)(backbone.output["pooled_output"])
    model = keras.Model(backbone.input, head)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    labels = batch()[1]["classification"]
    model.fit(inputs(), labels, epochs=2, verbose=0)
    model.save_weights(tmp_path / "all.weights.h5")
    before = model(inputs())
    scatter(model)
    model.load_weights(tmp_path / "all.weights.h5")
    np.testing.assert_array_equal(model(inputs()), before)


def test_the_numbers_of_a_configuration_are_checked():
    with pytest.raises(ValueError, match="`method` of Adaptation must be one of none, lora, adal"):
        config.Adaptation(method="lore")
    with pytest.raises(ValueError, match="`transfer` of FineTuning must be as it is by default"):
        config.FineTuning(
            adaptation=config.Adaptation(method="lora"), transfer=config.Transfer(trained_layers=1)
        )
