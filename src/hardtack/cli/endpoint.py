"""`hardtack endpoint`: image queries answered on the box."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from hardtack.cli.inference import listen, needs_extra
from hardtack.core.units import parse_duration, parse_size

UPSTREAM_TOKEN = "GROUNDLIGHT_API_TOKEN"


@click.group()
def endpoint() -> None:
    """Answer the Groundlight SDK's image queries on this box."""


@endpoint.command()
@click.option(
    "--models", required=True, metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the detectors' models are: DIR/<detector id>/primary/<version>.",
)  # fmt: skip
@click.option(
    "--detectors", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="YAML that names the detectors. Others are learnt from the cloud, once.",
)  # fmt: skip
@click.option(
    "--state", default="/var/lib/hardtack/endpoint", show_default=True, metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where image queries, logs and the configuration in force are kept.",
)  # fmt: skip
@click.option(
    "--config", "edge_config", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="The edge configuration to begin with; one that was set while running goes before it.",
)  # fmt: skip
@click.option(
    "--upstream",
    default="",
    metavar="URL",
    help="The cloud, such as https://api.groundlight.ai. Default: none, the box answers alone.",
)
@click.option(
    "--upstream-ca", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="Trust these certificate authorities for the cloud, in place of the system's.",
)  # fmt: skip
@click.option(
    "--deadline",
    default="10s",
    show_default=True,
    help="What asking the cloud may cost an image query.",
)
@click.option(
    "--queue-size",
    default="500MB",
    show_default=True,
    help="Pictures kept for a cloud that is away.",
)
@click.option(
    "--queue-age", default="7d", show_default=True, help="How long they are kept, while it runs."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen on this address.")
@click.option("--port", default=30101, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--threads", default=1, show_default=True, type=click.IntRange(0, 1024),
    help="Threads of each detector's runtime; 0: all cores.",
)  # fmt: skip
@click.option("--memory", default="0", help="Memory that each detector's server may take.")
@click.option(
    "--starting", default=2, show_default=True, type=click.IntRange(1, 64),
    help="Detectors that may load at a time.",
)  # fmt: skip
@click.option("--max-body", default="20MB", show_default=True, help="Largest request body.")
@click.option(
    "--under-way", default=16, show_default=True, type=click.IntRange(1, 256),
    help="Image queries of one detector under way; those beyond get 429.",
)  # fmt: skip
def serve(
    models: Path, detectors: Path | None, state: Path, edge_config: Path | None,
    upstream: str, upstream_ca: Path | None, deadline: str, queue_size: str, queue_age: str,
    host: str, port: int,
    threads: int, memory: str, starting: int, max_body: str, under_way: int,
) -> None:  # fmt: skip
    """Serve the SDK's API, with one inference server for each detector, until told to end.

    The cloud's API token is each caller's own. What is sent later goes with the one in
    GROUNDLIGHT_API_TOKEN, or with the last caller's.
    """
    needs_extra()
    import uvicorn

    from hardtack.endpoint.api import Limits
    from hardtack.endpoint.opening import Settings, application

    settings = Settings(
        models.absolute(), detectors, state.absolute(), edge_config, threads, parse_size(memory),
        starting, upstream, os.environ.get(UPSTREAM_TOKEN, ""), parse_duration(deadline),
        upstream_ca, parse_size(queue_size), parse_duration(queue_age),
        Limits(body=parse_size(max_body), under_way=under_way),
    )  # fmt: skip
    app = application(settings)
    listener = listen(host, port)
    click.echo(f"The endpoint listens on http://{host}:{listener.getsockname()[1]}", err=True)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=10
    )
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(1)
