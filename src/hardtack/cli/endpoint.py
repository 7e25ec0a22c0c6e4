"""`hardtack endpoint`: image queries answered on the box."""

from __future__ import annotations

import os
import socket
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
    "--https-port",
    type=click.IntRange(0, 65535),
    help="Serve HTTPS on this port of --host; plain HTTP stays on loopback.",
)
@click.option(
    "--tls-cert",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The certificate, with its chain. Default: one signed by itself, kept in --state.",
)
@click.option(
    "--tls-key",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Its key.",
)
@click.option("--plain-http", is_flag=True, help="Plain HTTP on --host too, beside HTTPS.")
@click.option(
    "--token-file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="Answer only callers whose API token is the one in this file.",
)  # fmt: skip
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
    "--max-pixels",
    default=50_000_000,
    show_default=True,
    type=click.IntRange(1),
    help="Pixels of the largest picture.",
)
@click.option(
    "--under-way", default=16, show_default=True, type=click.IntRange(1, 256),
    help="Image queries of one detector under way; those beyond get 429.",
)  # fmt: skip
def serve(
    models: Path, detectors: Path | None, state: Path, edge_config: Path | None,
    upstream: str, upstream_ca: Path | None, deadline: str, queue_size: str, queue_age: str,
    host: str, port: int, https_port: int | None, tls_cert: Path | None, tls_key: Path | None,
    plain_http: bool, token_file: Path | None, threads: int, memory: str, starting: int,
    max_body: str, max_pixels: int, under_way: int,
) -> None:  # fmt: skip
    """Serve the SDK's API, with one inference server for each detector, until told to end.

    The cloud's API token is each caller's own. What is sent later goes with the one in
    GROUNDLIGHT_API_TOKEN, or with the last caller's.
    """
    needs_extra("endpoint", "cryptography", "urllib3", "yaml")
    from hardtack.endpoint import opening
    from hardtack.endpoint.api import Limits
    from hardtack.endpoint.serving import Secure
    from hardtack.endpoint.serving import serve as serve_until_told
    from hardtack.endpoint.tls import self_signed

    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together.")
    if https_port is None and (tls_cert or plain_http):
        raise click.UsageError("--tls-cert, --tls-key and --plain-http need --https-port.")
    settings = opening.Settings(
        models=models.absolute(),
        detectors=detectors,
        state=state.absolute(),
        config=edge_config,
        servers=opening.Servers(threads, parse_size(memory), starting, max_pixels),
        upstream=upstream,
        token=os.environ.get(UPSTREAM_TOKEN, ""),
        deadline=parse_duration(deadline),
        upstream_ca=upstream_ca,
        queue_bytes=parse_size(queue_size),
        queue_seconds=parse_duration(queue_age),
        token_file=token_file,
        limits=Limits(body=parse_size(max_body), under_way=under_way),
    )
    plain_host = host if https_port is None or plain_http else "127.0.0.1"
    plain = listen(plain_host, port)
    beside = listen(host, https_port, "--https-port") if https_port is not None else None
    app = opening.application(settings)
    secure = None
    if beside is not None:
        pair = (tls_cert, tls_key) if tls_cert and tls_key else self_signed(settings.state / "tls")
        secure = Secure(beside, *pair)
        click.echo(f"The endpoint listens on {_url('https', host, beside)}", err=True)
    click.echo(f"The endpoint listens on {_url('http', plain_host, plain)}", err=True)
    if not serve_until_told(app, plain, secure):
        sys.exit(1)


def _url(scheme: str, host: str, listener: socket.socket) -> str:
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
