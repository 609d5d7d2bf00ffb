"""The commands `tfpt import` and `tfpt convert`."""

import click

from tfpt import command, recipe_names
from tfpt.command import quiet_tensorflow

FORMATS = ("hugging-face", "google", "keras-hub")

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
    recipe = recipe_names.find("classify" if checkpoint.label_names else "bert")
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
@click.option("--to", required=True, type=click.Choice(FORMATS), help="The format.")
@click.option("--out", required=True, help="The folder to write.")
@_without_heads
def convert(run, to, out, without_heads) -> None:
    """Write the best weights of a run in a format of others.

    hugging-face: a folder that transformers loads. google: google-research's checkpoint of
    TensorFlow 1. keras-hub: a preset of the backbone, which has no heads.
    """
    quiet_tensorflow()
    module = recipe_names.of_run(run)
    from tfpt import checkpoints, config, weights

    opened = checkpoints.open_run(run)
    settings = config.from_dict(module.config(), opened.settings)
    labels = [opened.label_names] if opened.label_names else []
    model = checkpoints.load(run, build=lambda run: module.model(settings, run.tokenizer, *labels))
    written = weights.write(
        out,
        model,
        to=to,
        size=settings.model,
        tokenizer=opened.tokenizer,
        label_names=opened.label_names,
        heads=not without_heads and to != "keras-hub",
    )
    click.echo(str(written))
