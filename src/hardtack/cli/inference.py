"""`hardtack inference`: the server of one detector."""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path

import click

from hardtack.cli.extras import INFERENCE, needs_extra
from hardtack.cli.options import BATCH_WINDOW, DURATION, PAUSE
from hardtack.core.errors import ConfigError, HardtackError
from hardtack.core.turns import wait_for_turns
from hardtack.core.units import parse_size

_KEPT = 75
"""Seconds for which an idle connection is kept. One that is closed as the next picture comes costs
its way twice, or its answer: of cameras that ask every five seconds, uvicorn's five cost some."""


@click.group()
def inference() -> None:
    """Answer pictures on this box: one server for each detector."""


@inference.command()
@click.option(
    "--model", "directory", required=True, metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="A model package, a directory of versions, or a detector's directory.",
)  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen on this address.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--name", help="The model's name in the Open Inference Protocol. Default: the detector's id."
)
@click.option(
    "--provider", "providers", multiple=True, default=("cpu",), show_default=True,
    help="cpu, cuda or tensorrt; repeat it in order of preference.",
)  # fmt: skip
@click.option(
    "--threads", default=0, type=click.IntRange(0, 1024),
    help="Threads of the runtime. Default: the cores that this process may use.",
)  # fmt: skip
@click.option(
    "--batch-window", default="0s", show_default=True, type=BATCH_WINDOW,
    help="How long a picture waits for others, to be run through the network with them. 0s: not.",
)  # fmt: skip
@click.option("--max-body", default="20MB", show_default=True, help="Largest request body.")
@click.option(
    "--max-pixels", default=50_000_000, show_default=True, type=click.IntRange(1),
    help="Pixels of the largest picture.",
)  # fmt: skip
@click.option(
    "--oodd", "outliers", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
    help="Its out-of-distribution model. Default: the newest one in a detector's directory.",
)  # fmt: skip
@click.option(
    "--answer-time", default="30s", show_default=True, type=PAUSE,
    help="A picture without an answer for so long means that this hangs: /health/live says 503.",
)  # fmt: skip
@click.option(
    "--arrival-time", default="10m", show_default=True, type=DURATION,
    help="The same when no byte of the weights has come for so long while they load.",
)  # fmt: skip
@click.option(
    "--fail-fast", is_flag=True,
    help="End when the model is here and can't be loaded, in place of saying so in /health/ready.",
)  # fmt: skip
@click.option(
    "--trust-sizes", is_flag=True,
    help="Check the weights' sizes alone at the start, not their hashes.",
)  # fmt: skip
def serve(
    directory: Path, host: str, port: int, name: str | None, providers: tuple[str, ...],
    threads: int, batch_window: float, max_body: str, max_pixels: int, outliers: Path | None,
    answer_time: float, arrival_time: float, fail_fast: bool, trust_sizes: bool,
) -> None:  # fmt: skip
    """Serve /infer, /health and the Open Inference Protocol until told to end.

    /health/live answers at once, while the weights are checked and loaded: over a slow link they
    take their time. Files that are missing or can't be read are waited for, as a mount's that comes
    later; /health/ready says which. A package's golden picture is put to the model before anybody
    else may ask.
    """
    needs_extra("inference", *INFERENCE)
    import uvicorn

    from hardtack.core.onewrite import OneWrite
    from hardtack.inference.allocator import keep_freed_memory
    from hardtack.inference.loading import Wanted
    from hardtack.inference.ondisk import name_of
    from hardtack.inference.runtime import Options, threads_allowed
    from hardtack.inference.server import Limits, Service, application

    wait_for_turns()
    keep_freed_memory()
    # Each picture that is judged beside others holds memory of its own, for good; more of them than
    # cores are no faster.
    limits = Limits(
        body=parse_size(max_body), pixels=max_pixels, answer=answer_time, arrival=arrival_time,
        at_once=min(Limits.at_once, threads_allowed(0)),
    )  # fmt: skip
    wanted = Wanted(
        directory, outliers, Options(providers, threads, batch_window), hashes=not trust_sizes
    )
    service = Service(
        name or name_of(directory), wanted.load, limits=limits,
        fatal=_end_at_once if fail_fast else None,
    )  # fmt: skip
    listener = listen(host, port)
    click.echo(f"Serving {service.name} on http://{host}:{listener.getsockname()[1]}", err=True)
    config = uvicorn.Config(
        application(service), http=OneWrite, loop="uvloop", ws="none",
        log_config=None, access_log=False, proxy_headers=False, timeout_keep_alive=_KEPT,
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(1)


@inference.command()
@click.option(
    "--model", "directory", required=True, metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="The model package that the program serves.",
)  # fmt: skip
@click.option(
    "--server-port", default=8000, show_default=True, type=click.IntRange(1, 65535),
    help="Where on this machine the program listens.",
)  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen on this address.")
@click.option("--port", default=18000, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--oodd", "outliers", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
    help="Its out-of-distribution model, which lowers confidences: the answer alone counts.",
)  # fmt: skip
@click.option(
    "--answer-time", default="30s", show_default=True, type=PAUSE,
    help="How long the answer to the golden picture may take.",
)  # fmt: skip
def examine(
    directory: Path, server_port: int, host: str, port: int, outliers: Path | None,
    answer_time: float,
) -> None:  # fmt: skip
    """Examine another program's server, beside which this runs in a pod, until told to end.

    As soon as the program's /health/ready says yes, it is asked the package's golden picture. From
    then on /health/ready here says yes; before, and while a program that was started again hasn't
    answered it anew, 503 with the reason. A wrong answer ends this, with the reason as its last
    words. A package without a golden picture passes at once.
    """
    from hardtack.endpoint.backends.examining import Examining, Wanted, serve
    from hardtack.inference.ondisk import name_of

    if port == server_port:
        raise click.BadParameter(
            f"{port} is the program's port (--server-port); choose another.", param_hint="'--port'"
        )
    examining = Examining(Wanted(name_of(directory), directory, server_port, outliers, answer_time))
    listener = listen(host, port)
    serve(examining, listener)
    click.echo(f"Examining on http://{host}:{listener.getsockname()[1]}", err=True)
    examining.run()


def _end_at_once(error: BaseException) -> None:
    """End with the error as the last words, whatever other threads do."""
    known = error if isinstance(error, HardtackError) else None
    click.echo(f"hardtack: {known or repr(error)}", err=True)
    sys.stderr.flush()
    os._exit(known.exit_code if known else HardtackError.exit_code)


def listen(host: str, port: int, option: str = "--port") -> socket.socket:
    """A listening socket. Raises ConfigError where the address can't be had."""
    try:
        return socket.create_server((host, port), backlog=128)
    except OSError as error:
        number = error.errno or 0  # below 0 of a name that isn't known
        why = os.strerror(number) if number > 0 else error.strerror
        remedy = _NOT_LISTENING.get(number, "Give --host an address of this machine.")
        raise ConfigError(
            f"Can't listen on {host}:{port}: {why}.", remedy=remedy.format(option=option)
        ) from None


_NOT_LISTENING = {
    errno.EADDRINUSE: "Choose another {option}, or end what listens there.",
    errno.EACCES: "Choose a {option} from 1024 on, or run it as root or with CAP_NET_BIND_SERVICE.",
}
