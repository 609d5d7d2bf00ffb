"""The commands of `tfpt` for what was trained: export it, serve it, ask it. See cli.py."""

import json
from pathlib import Path
from typing import Any

import click

from tfpt import command, config, recipe_names
from tfpt.command import quiet_tensorflow


@click.command(cls=command.Command)
@click.argument("run")
@click.option(
    "--out", required=True, help="The folder of the model's versions, such as models/sst2."
)
@click.option(
    "--embedding",
    type=click.Choice(config.EMBEDDINGS),
    help="Of a run without embeddings, such as an imported one: its encoder without heads, which "
    "answers an embedding of each text. mean: of the states of all tokens. first: that of [CLS].",
)
def export(run, out, embedding) -> None:
    """Write a fine-tuned run, or an encoder, as a SavedModel.

    It takes plain strings: tokenizer, weights and labels are inside. Each export into a folder is
    its next version.
    """
    quiet_tensorflow()
    module = recipe_names.of_run(run)
    from tfpt import console
    from tfpt import export as exporting

    with console.progress("Exporting"):
        written = exporting.export_run(module, run, out, embedding=embedding)
    click.echo(written)


@click.command(cls=command.Command)
@click.argument("models", nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0: every interface.")
@click.option("--rest-port", default=8501, show_default=True, help="0: any free one.")
@click.option("--grpc-port", default=8500, show_default=True, help="0: any free one.")
@click.option(
    "--max-request-megabytes",
    default=64.0,
    show_default=True,
    help="A larger request is refused: 413, over gRPC RESOURCE_EXHAUSTED.",
)
@click.option(
    "--max-requests",
    default=256,
    show_default=True,
    help="With so many that wait or are answered, the next is refused: 429, over gRPC UNAVAILABLE.",
)
def serve(models, host, rest_port, grpc_port, max_request_megabytes, max_requests) -> None:
    """Serve models by TF Serving's REST and gRPC interfaces.

    MODELS are folders of versions, such as models/sst2; each is served under its folder's name,
    until Ctrl-C.
    """
    from tfpt import console, serving

    named = {Path(model).resolve().name: model for model in models}
    if len(named) < len(models):
        raise ValueError(f"Two of the folders share a name, under which they are served: {models}.")
    limits = serving.Limits(request_megabytes=max_request_megabytes, requests=max_requests)
    server = serving.Server(
        named, host=host, rest_port=rest_port, grpc_port=grpc_port, limits=limits
    )
    with console.waiting("Loading the models"):
        server.start()
    try:
        click.echo(
            f"Serving {', '.join(named)}: REST {server.address}, gRPC {server.grpc_address}. "
            "Stop with Ctrl-C."
        )
        server.wait()
    finally:
        server.stop()


@click.command(cls=command.Command)
@click.argument("address")
@click.argument("model")
@click.argument("texts", nargs=-1, required=True)
@click.option("--grpc", is_flag=True, help="Ask by gRPC; ADDRESS is then that port.")
@click.option("--version", type=int, help="The version to ask; by default the newest.")
@click.option("--pair", is_flag=True, help="TEXTS are pairs: A B A B ..., or question context ...")
def predict(address, model, texts, grpc, version, pair) -> None:
    """Ask a server about texts; prints a JSON line for each.

    ADDRESS is host and port, such as localhost:8501; MODEL the name the model is served under.
    """
    if grpc:
        quiet_tensorflow()
    from tfpt import serving

    client = serving.Client(address, model, protocol="grpc" if grpc else "rest", version=version)
    names = _names(client)
    if pair != (len(names) == 2):
        raise ValueError(
            f"{model} takes pairs of texts ({' and '.join(names)}): give --pair, and both of each."
            if names and not pair
            else f"{model} takes single texts: leave out --pair."
        )
    inputs: Any = list(texts)
    if pair:
        if len(texts) % 2:
            raise ValueError(f"--pair takes an even number of texts; received {len(texts)}.")
        inputs = dict(zip(names, (list(texts[::2]), list(texts[1::2])), strict=True))
    answer = client.predict(inputs)
    columns = {name: values.tolist() for name, values in answer.items()}
    for row in zip(*columns.values(), strict=True):
        told = _told(dict(zip(columns, row, strict=True)))
        click.echo(json.dumps(told, ensure_ascii=False))


def _names(client: Any) -> tuple[str, ...]:
    """What a model calls the two texts of a pair; nothing where it takes none."""
    signatures = client.metadata()["metadata"]["signature_def"]["signature_def"]
    inputs = signatures.get("serving_default", {}).get("inputs", {})
    pairs = (("question", "context"), ("text_a", "text_b"))
    return next((names for names in pairs if set(inputs) == set(names)), ())


def _told(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer for a text, to be read.

    Of a model of several labels those it chose, the surest first; of a tagger an object for each
    entity.
    """
    if answer.keys() >= {"count", "label", "char_start", "char_end"}:
        columns = {name: values for name, values in answer.items() if name != "count"}
        entities = [
            dict(zip(columns, one, strict=True)) for one in zip(*columns.values(), strict=True)
        ]
        return {"entities": entities[: answer["count"]]}
    if set(answer) != {"labels", "scores", "chosen"}:
        return answer
    rows = zip(answer["scores"], answer["labels"], answer["chosen"], strict=True)
    found = sorted(((score, label) for score, label, is_chosen in rows if is_chosen), reverse=True)
    return {"labels": [label for _, label in found], "scores": [score for score, _ in found]}
