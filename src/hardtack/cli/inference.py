"""`hardtack inference`: the server of one detector."""

from __future__ import annotations

import importlib.util
import socket
import sys
from pathlib import Path

import click

from hardtack.core.errors import ConfigError
from hardtack.core.units import parse_size


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
@click.option("--max-body", default="20MB", show_default=True, help="Largest request body.")
@click.option(
    "--max-pixels", default=50_000_000, show_default=True, type=click.IntRange(1),
    help="Pixels of the largest picture.",
)  # fmt: skip
@click.option(
    "--trust-sizes", is_flag=True,
    help="Check the weights' sizes alone at the start, not their hashes.",
)  # fmt: skip
def serve(
    directory: Path, host: str, port: int, name: str | None, providers: tuple[str, ...],
    threads: int, max_body: str, max_pixels: int, trust_sizes: bool,
) -> None:  # fmt: skip
    """Serve /infer, /health and the Open Inference Protocol until told to end.

    Files and sizes are checked before the port is opened. The weights are checked and loaded while
    /health/live answers already: over a slow link they take their time.
    """
    needs_extra()
    import uvicorn

    from hardtack.inference import package
    from hardtack.inference.model import open_model
    from hardtack.inference.runtime import Options
    from hardtack.inference.server import Limits, Service, application

    limits = Limits(body=parse_size(max_body), pixels=max_pixels)
    primary, _ = package.locate(directory, hashes=False)
    options = Options(providers, threads)
    service = Service(
        name or primary.name,
        lambda: open_model(directory, options, hashes=not trust_sizes),
        limits=limits,
    )
    listener = listen(host, port)
    click.echo(f"Serving {service.name} on http://{host}:{listener.getsockname()[1]}", err=True)
    config = uvicorn.Config(
        application(service), http="httptools", loop="uvloop", ws="none",
        log_config=None, access_log=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(1)


def listen(host: str, port: int, option: str = "--port") -> socket.socket:
    """A listening socket. Raises ConfigError where the address can't be had."""
    try:
        return socket.create_server((host, port), backlog=128)
    except OSError as error:
        raise ConfigError(
            f"Can't listen on {host}:{port}: {error.strerror}.",
            remedy=f"Choose another {option}, or end what listens there.",
        ) from None


def needs_extra(extra: str = "inference", *more: str) -> None:
    """Raises ConfigError where packages of the extra are missing, those of inference or `more`."""
    names = ("numpy", "onnxruntime", "PIL", "starlette", "uvicorn", "httptools", "uvloop", *more)
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"This needs packages that are not installed: {', '.join(missing)}.",
            remedy=f"Install them: pip install 'hardtack[{extra}]'.",
        )
