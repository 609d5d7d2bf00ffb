"""The commands `tfpt data-service ...`: machines that draw batches for a trainer."""

import signal
import threading
from collections.abc import Callable
from typing import Any

import click

from tfpt import command


def _port(default: int) -> Callable[[Any], Any]:
    return click.option(
        "--port",
        type=click.IntRange(0, 65_535),
        default=default,
        show_default=True,
        help="0: any free one.",
    )


@click.group(cls=command.Group)
def data_service() -> None:
    """Draw batches on other machines, for a trainer of few cores.

    Start one dispatcher and some workers, which have the token store at the path it has on the
    trainer, and train by `tfpt pretrain bert --set data.service=HOST:PORT`, the dispatcher's.
    """


@data_service.command()
@_port(5050)
@click.option(
    "--work-dir",
    help="A folder, also gs://BUCKET/FOLDER: what is under way is noted down there, and a "
    "dispatcher that is started anew goes on.",
)
def dispatcher(port, work_dir) -> None:
    """Hand out the numbers of batches to workers, until Ctrl-C."""
    _import_tensorflow()
    from tfpt import pipelines

    server = pipelines.start_dispatcher(port, work_dir=work_dir)
    port = server.target.rpartition(":")[2]
    _wait(f"The dispatcher listens on port {port}.", server)


@data_service.command()
@click.argument("dispatcher")
@_port(5051)
@click.option(
    "--address",
    help="HOST:PORT at which trainers reach this worker; by default this machine's name.",
)
def worker(dispatcher, port, address) -> None:
    """Draw batches for trainers, until Ctrl-C.

    DISPATCHER is its HOST:PORT.
    """
    _import_tensorflow()
    from tfpt import pipelines

    server = pipelines.start_worker(dispatcher, port, address=address)
    _wait(f"The worker draws for {dispatcher}.", server)


def _import_tensorflow() -> None:
    from tfpt.serving.quiet_import import import_tensorflow

    import_tensorflow()


def _wait(said: str, *servers: object) -> None:
    """Until Ctrl-C; servers live as long as this call holds them."""
    stop = threading.Event()
    # An exception that a signal raises in a destructor is lost, and the process would go on.
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    click.echo(f"{said} Stop with Ctrl-C.")
    # A signal may reach a thread of TensorFlow: Python then sees it between two naps.
    while not stop.wait(1):
        pass
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise KeyboardInterrupt
