"""The commands `tfpt import`, `tfpt convert` and `tfpt features`."""

from types import ModuleType
from typing import Any

import click

from tfpt import command, config, recipe_names
from tfpt.command import quiet_tensorflow

_without_heads = click.option(
    "--without-heads", is_flag=True, help="The encoder alone, whatever heads there are."
)


@click.command("import", cls=command.Command)
@click.argument("source")
@click.option("--out", required=True, help="The run folder to write.")
@_without_heads
@click.option(
    "--lowercase/--cased",
    default=None,
    help="For a vocab.txt that does not tell; by default as the files beside it tell.",
)
def import_(source, out, without_heads, lowercase) -> None:
    """Make a run folder of a checkpoint of others.

    SOURCE is a folder of Hugging Face (config.json, model.safetensors), of google-research
    (bert_config.json, bert_model.ckpt) or a preset of keras-hub. Fine-tune it by `tfpt finetune
    --from OUT`, go on with it by `tfpt pretrain bert --from OUT`.
    """
    quiet_tensorflow()
    from tfpt import importing, weights

    checkpoint = weights.read(source, heads=not without_heads, lowercase=lowercase)
    recipe = recipe_names.find(checkpoint.recipe)
    imported = importing.import_run(recipe, checkpoint, out)
    layers = sorted({path.rpartition("/")[0] for path in imported.drawn})
    if layers:
        click.echo(f"Not in the checkpoint, and drawn at random: {', '.join(layers)}", err=True)
    size = checkpoint.size
    click.echo(
        f"{out}: {checkpoint.family}, {size.num_layers} layers x {size.hidden_dim}, "
        f"{checkpoint.tokenizer.vocabulary_size:,} entries"
    )


@click.command(cls=command.Command)
@click.argument("run")
@click.option("--to", required=True, type=click.Choice(config.WEIGHT_FORMATS), help="The format.")
@click.option("--out", required=True, help="The folder to write.")
@_without_heads
def convert(run, to, out, without_heads) -> None:
    """Write the best weights of a run in a format of others.

    hugging-face: a folder that transformers loads. google: google-research's checkpoint of
    TensorFlow 1. keras-hub: a preset of the backbone, which has no heads.
    """
    quiet_tensorflow()
    module = recipe_names.of_run(run)
    from tfpt import checkpoints, peft, weights

    label_names = checkpoints.open_run(run).label_names
    model, tokenizer, settings = _loaded(run, module)
    if adaptation := peft.adaptation_of(model):
        raise ValueError(
            f"{run} was trained by {adaptation.method}, which cannot be merged into the weights, "
            "and other formats have no place for it. Export it as it is (`tfpt export`)."
        )
    written = weights.write(
        out,
        model,
        to=to,
        size=settings.model,
        tokenizer=tokenizer,
        label_names=label_names,
        heads=not without_heads and to != "keras-hub",
    )
    click.echo(str(written))


@click.command(cls=command.Command)
@click.argument("run")
@click.argument("texts")
@click.option("--out", required=True, help="The file to write: .npy or .parquet.")
@click.option(
    "--field",
    "fields",
    default="text",
    show_default=True,
    help="The column of the text, or two of a pair, divided by a comma; of a .txt none.",
)
@click.option("--layer", type=int, help="After which the states are taken; by default the last.")
@click.option(
    "--pooling",
    type=click.Choice(config.POOLINGS),
    default="mean",
    show_default=True,
    help="mean: of all tokens. first: of [CLS]. pooled: the encoder's pooled output. tokens: all "
    "of them, as lists in a .parquet.",
)
@click.option(
    "--sequence-length",
    type=int,
    help="Tokens at most; by default as many as the encoder has positions for.",
)
@click.option(
    "--batch-size", type=click.IntRange(1), default=64, show_default=True, help="Texts at once."
)
def features(run, texts, out, fields, layer, pooling, sequence_length, batch_size) -> None:
    """Write the features that the encoder of a run gives texts.

    TEXTS is a .txt of a text in each line, or a .csv, .tsv, .jsonl or .parquet. The features are
    float32 and in the order of the texts.
    """
    quiet_tensorflow()
    module = recipe_names.of_run(run)
    from tfpt import console, extraction, pipelines

    extraction.check_file(out, pooling)
    rows = pipelines.read_texts(texts, text=fields.split(","))
    model, tokenizer, _ = _loaded(run, module)
    found = extraction.extract(
        model.encoder,
        tokenizer,
        rows,
        layer=layer,
        pooling=pooling,
        sequence_length=sequence_length,
        batch_size=batch_size,
    )
    with console.progress("Extracting", total=len(rows)) as move:

        def moved():
            done = 0
            for some in found:
                yield some
                done += len(some)
                move(done, f"{done:,} texts")

        extraction.write(out, moved(), len(rows))
    click.echo(f"{out}: {len(rows):,} texts")


def _loaded(run: str, module: ModuleType) -> tuple[Any, Any, Any]:
    """The model of a run with its best weights, its tokenizer, its settings."""
    from tfpt import checkpoints, peft

    opened = checkpoints.open_run(run)
    settings = config.from_dict(module.config(), opened.settings)
    if hasattr(settings, "drawing"):  # the weights of a packed model are those of one that is not
        settings = config.from_dict(settings, {"drawing": {"layout": "padded"}})
    labels = [opened.label_names] if recipe_names.is_for_finetuning(module) else []
    model = checkpoints.load(run, build=lambda run: module.model(settings, run.tokenizer, *labels))
    peft.merge_if_possible(model.encoder)
    return model, opened.tokenizer, settings
