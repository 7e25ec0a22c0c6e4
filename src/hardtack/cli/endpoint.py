"""`hardtack endpoint`: image queries answered on the box."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING, Any

import click

from hardtack.cli.endpoint_options import CLOUD, KUBERNETES, LISTENING, PLACES, SERVERS
from hardtack.cli.extras import INFERENCE, needs_extra
from hardtack.cli.inference import listen
from hardtack.cli.options import using
from hardtack.core.turns import wait_for_turns

if TYPE_CHECKING:
    from hardtack.endpoint.backends.zygote import Zygote
    from hardtack.endpoint.opening import InCluster

UPSTREAM_TOKEN = "GROUNDLIGHT_API_TOKEN"


@click.group()
def endpoint() -> None:
    """Answer the Groundlight SDK's image queries on this box."""


@endpoint.command()
@using(PLACES, CLOUD, LISTENING, SERVERS, KUBERNETES)
def serve(**given: Any) -> None:
    """Serve the SDK's API, with one inference server for each detector, until told to end.

    The cloud's API token is each caller's own. What is sent later goes with the one in
    GROUNDLIGHT_API_TOKEN, or with the last caller's.
    """
    needs_extra("endpoint", *INFERENCE, "cryptography", "urllib3", "yaml")
    _check_usage(given)
    wait_for_turns()
    zygote = _zygote(given) if given["backend"] == "processes" else None
    # Before the heavy imports: a slow link carries weights while they last.
    from hardtack.endpoint.warming import ahead

    warming = ahead(
        given["models"].absolute(), given["detectors"], given["edge_config"],
        given["state"].absolute(),
    )  # fmt: skip
    from hardtack.endpoint import opening
    from hardtack.endpoint.api import Limits
    from hardtack.endpoint.backends.starting import Pace
    from hardtack.endpoint.serving import Secure
    from hardtack.endpoint.serving import serve as serve_until_told
    from hardtack.endpoint.tls import Pair, self_signed

    host, https_port = given["host"], given["https_port"]
    tls_cert, tls_key = given["tls_cert"], given["tls_key"]
    settings = opening.Settings(
        models=given["models"].absolute(),
        detectors=given["detectors"],
        state=given["state"].absolute(),
        config=given["edge_config"],
        servers=opening.Servers(
            given["threads"],
            given["memory"],
            given["starting"],
            given["max_pixels"],
            given["answer_time"],
            Pace(
                given["model_refresh"] or 0.0,
                probation=given["probation"],
                arrival=given["arrival_time"],
            ),
            given["batch_window"],
            given["flavor"],
        ),
        cluster=_cluster(given) if zygote is None else None,
        zygote=zygote,
        upstream=given["upstream"],
        token=os.environ.get(UPSTREAM_TOKEN, ""),
        deadline=given["deadline"],
        upstream_ca=given["upstream_ca"],
        queue_bytes=given["queue_size"],
        queue_seconds=given["queue_age"],
        token_file=given["token_file"],
        limits=Limits(body=given["max_body"], under_way=given["under_way"]),
        ready_file=given["ready_file"],
        warming=warming,
    )
    plain_host = host if https_port is None or given["plain_http"] else "127.0.0.1"
    own = Pair(tls_cert, tls_key) if tls_cert else None
    plain = listen(plain_host, given["port"])
    beside = listen(host, https_port, "--https-port") if https_port is not None else None
    app = opening.application(settings)
    secure = None
    if beside is not None:
        secure = Secure(beside, own or self_signed(settings.state / "tls"))
        click.echo(f"The endpoint listens on {_url('https', host, beside)}", err=True)
    click.echo(f"The endpoint listens on {_url('http', plain_host, plain)}", err=True)
    if not serve_until_told(app, plain, secure):
        sys.exit(1)


def _check_usage(given: dict[str, Any]) -> None:
    """Raises UsageError."""
    tls_cert = given["tls_cert"]
    if (tls_cert is None) != (given["tls_key"] is None):
        raise click.UsageError("--tls-cert and --tls-key go together.")
    if given["https_port"] is None and (tls_cert or given["plain_http"]):
        raise click.UsageError("--tls-cert, --tls-key and --plain-http need --https-port.")


def _zygote(given: dict[str, Any]) -> Zygote:
    """What servers are forked from, importing while the endpoint does."""
    from hardtack.endpoint.backends.telling import environment
    from hardtack.endpoint.backends.zygote import Zygote

    zygote = Zygote(environment(given["models"].absolute(), given["threads"]))
    zygote.launch()
    return zygote


def _cluster(given: dict[str, Any]) -> InCluster:
    from hardtack.endpoint.backends.kubernetes.manifests import Pods
    from hardtack.endpoint.opening import InCluster

    if not given["inference_image"]:
        raise click.UsageError("--backend kubernetes needs --inference-image.")
    selector = dict(label.partition("=")[::2] for label in given["node_selector"])
    if not all(selector.values()):
        raise click.UsageError("--node-selector is KEY=VALUE.")
    runtime_class = given["runtime_class"]
    if runtime_class is None:
        runtime_class = "" if given["flavor"] == "cpu" else "nvidia"
    pods = Pods(
        image=given["inference_image"],
        mount=(given["mount_path"] or given["models"].absolute().parent).absolute(),
        pull_policy=given["image_pull_policy"],
        pull_secrets=given["pull_secrets"],
        flavor=given["flavor"],
        runtime_class=runtime_class,
        node_selector=selector,
        threads=given["threads"],
        cpu_request=given["cpu_request"],
        cpu_limit=given["cpu_limit"],
        memory_request=given["memory_request"],
        memory_limit=str(given["memory"] or ""),
        pixels=given["max_pixels"],
        answer=given["answer_time"],
        arrival=given["arrival_time"],
        window=given["batch_window"],
    )
    return InCluster(pods, given["namespace"], given["kubeconfig"])


def _url(scheme: str, host: str, listener: socket.socket) -> str:
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
