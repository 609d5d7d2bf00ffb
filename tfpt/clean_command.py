"""The command `tfpt clean`. See cli.py."""

from typing import Any

import click

from tfpt import command


def _codes(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(code.strip() for code in value.split(",") if code.strip())


@click.command(cls=command.Command)
@click.argument("sources", nargs=-1, required=True)
@click.option("--out", required=True, help="The folder to write.")
@click.option(
    "--unicode",
    type=click.Choice(["nfc", "nfkc"]),
    help="Normalize characters, and remove those that nobody sees. nfkc: also ligatures, full "
    "width and the like as plain letters.",
)
@click.option("--min-words", type=int, default=0, help="Drop shorter documents.")
@click.option("--max-words", type=int, default=0, help="Drop longer documents.")
@click.option(
    "--repetition",
    is_flag=True,
    help="Drop documents that repeat themselves (Gopher). Their limits are set in Python, by "
    "pipelines.Repetition(...).",
)
@click.option(
    "--keep-languages",
    default="",
    callback=_codes,
    help="Drop documents in other languages than these, such as en,fr.",
)
@click.option("--count-languages", is_flag=True, help="Only tell how many are in which language.")
@click.option(
    "--min-confidence",
    type=float,
    default=0.5,
    show_default=True,
    help="How sure a language must be, from 0 to 1, to be taken for it.",
)
@click.option(
    "--overlap",
    multiple=True,
    metavar="SOURCE",
    help="Drop documents that share words in a row with texts of this evaluation set. May be "
    "repeated.",
)
@click.option(
    "--overlap-field", default="text", show_default=True, help="As --field, of evaluation sets."
)
@click.option(
    "--overlap-words", type=int, default=13, show_default=True, help="Words in a row, see above."
)
@click.option(
    "--personal-data", is_flag=True, help="Mask e-mail addresses, phone and card numbers."
)
@click.option(
    "--phone-regions",
    default="US,GB,DE,FR,IL,IN,CA,BR",
    show_default=True,
    callback=_codes,
    help="Where phone numbers are written without the code of the country. Fewer are faster.",
)
@click.option("--exact-duplicates", is_flag=True, help="Drop documents that were there before.")
@click.option(
    "--near-duplicates",
    type=float,
    default=0.0,
    metavar="SIMILARITY",
    help="Drop documents at least so similar to an earlier one, such as 0.8.",
)
@click.option("--workers", type=int, help="Processes that clean; by default one for each core.")
@command.beam
@command.reading
def clean(
    sources,
    out,
    unicode,
    repetition,
    workers,
    beam,
    layout,
    field,
    encoding,
    language,
    **steps,
) -> None:
    """Clean texts, and report what was dropped.

    Each step is off until its option is given. OUT then holds the texts as .jsonl files, which
    `tfpt vocabulary` and `tfpt store` read, and the report as report.json and report.html.

    SOURCES are text files, .jsonl, .csv, .tsv (all of these also as .gz, .bz2, .xz or .zst) or
    .parquet; folders of them, quoted globs, paths such as gs://bucket/name; or tfds:NAME. When it
    was stopped, the same command goes on where it was. Needs pip install 'tfpt[cleaning]'.
    """
    from tfpt import console, pipelines

    cleaning = pipelines.Cleaning(
        unicode=unicode or "", repetition=pipelines.Repetition() if repetition else None, **steps
    )
    documents = command.documents(
        sources,
        layout=layout,
        field=field,
        encoding=encoding,
        language=language,
    )
    if beam:
        command.warn_without_effect("--beam", workers=workers)
        with console.waiting("Running the pipeline"):
            cleaned = pipelines.clean_documents_by_beam(documents, out, cleaning, beam)
    else:
        with console.writing(documents, "Cleaning") as moved:
            cleaned = pipelines.clean_documents(
                documents, out, cleaning, num_workers=workers, moved=moved
            )
    console.show_encodings(documents.encodings)
    console.table("", *_steps(cleaned.report))
    left, there_were = (cleaned.report[when]["documents"] for when in ("after", "before"))
    click.echo(f"{out}: {left:,} of {there_were:,} documents; report.html tells of the others")


def _steps(report: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The columns and rows of a table: what each step dropped, changed and left."""
    rows = [["before", "", "", *(f"{count:,}" for count in report["before"].values())]]
    for step in report["steps"]:
        dropped, changed = sum(step["dropped"].values()), step["changed"]
        counts = [dropped, changed, *step["after"].values()]
        name = step["name"].replace("_", " ")
        rows.append([name, *(f"{count:,}" for count in counts)])
    return ["step", "dropped", "changed", "documents", "sentences", "characters"], rows
