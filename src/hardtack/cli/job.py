"""`hardtack job`: the small jobs of a deployment, by flags or by environment variables."""

from __future__ import annotations

import dataclasses
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import click

from hardtack.cli.options import DURATION, SIZE
from hardtack.cli.output import json_option, print_json, print_table
from hardtack.core.errors import ConfigError

log = logging.getLogger("hardtack.job")
Command = TypeVar("Command", bound=Callable[..., Any])
DIRECTORY = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
KUBECONFIG = "How to reach the cluster. Default: the service account of the pod."


def option(job: str, flag: str, *names: str, **settings: Any) -> Callable[[Command], Command]:
    """A click option with its variable `HARDTACK_JOB_<JOB>_<FLAG>`."""
    words = f"{job} {flag.partition('/')[0].lstrip('-')}".upper()
    variable = "HARDTACK_JOB_" + words.replace("-", "_").replace(" ", "_")
    return click.option(flag, *names, envvar=variable, show_envvar=True, **settings)


@click.group()
def job() -> None:
    """The small jobs of a deployment: one image does them all."""


@job.command("edge-config")
@option(
    "edge-config",
    "--given",
    type=DIRECTORY,
    required=True,
    help="The chart's ConfigMap: edge-config.yaml, and revision, that of the Helm release.",
)
@option(
    "edge-config", "--state", type=DIRECTORY, required=True, help="The endpoint's state directory."
)
def edge_config(given: Path, state: Path) -> None:
    """Put the chart's edge configuration in force, once for each revision of the release.

    One that was set through the SDK stays over restarts, and over upgrades that bring none.
    """
    from hardtack.deploy.jobs import edge_config as doing

    log.info("%s", doing.told(doing.apply(given, state), state))


@job.command("ecr-credentials")
@option(
    "ecr-credentials",
    "--registry",
    "registries",
    multiple=True,
    required=True,
    help="123456789012.dkr.ecr.REGION.amazonaws.com. Again for each, or with commas.",
)
@option(
    "ecr-credentials",
    "--secret",
    default="registry-credentials",
    show_default=True,
    help="The pull secret's name.",
)
@option("ecr-credentials", "--namespace", help="Its namespace. Default: the pod's own.")
@option(
    "ecr-credentials",
    "--every",
    type=DURATION,
    default="4h",
    show_default=True,
    help="Time between two renewals; a token lives 12 hours.",
)
@option("ecr-credentials", "--once", is_flag=True, help="Renew once, and end.")
@option(
    "ecr-credentials",
    "--instance-credentials",
    is_flag=True,
    help="The instance metadata service may be asked for AWS's credentials.",
)
@option("ecr-credentials", "--kubeconfig", type=FILE, help=KUBECONFIG)
def ecr_credentials(
    registries: tuple[str, ...], secret: str, namespace: str | None, every: float, once: bool,
    instance_credentials: bool, kubeconfig: Path | None,
) -> None:  # fmt: skip
    """Keep the pull secret of ECR registries fresh. Offline it stays as it is, and all is well."""
    from hardtack.deploy.jobs import ecr_credentials as doing
    from hardtack.endpoint.backends.kubernetes.access import find
    from hardtack.endpoint.backends.kubernetes.client import Cluster
    from hardtack.images.auth import Credentials
    from hardtack.images.auth import ecr_credentials as ask

    cluster = Cluster(find(kubeconfig), namespace or "")
    target = doing.Target(doing.checked(registries), cluster.namespace, secret)
    env = dict(os.environ)
    if not instance_credentials:
        env["AWS_EC2_METADATA_DISABLED"] = "true"

    def token(registry: str) -> Credentials | None:
        return ask(registry, env)

    if not once:
        doing.run(target, cluster, token, every, _until_told())
        return
    done = doing.report(target, doing.refresh(target, cluster, token))
    for error in done.refused.values():
        sys.exit(error.exit_code)


@job.command("network-healer")
@option(
    "network-healer",
    "--every",
    type=DURATION,
    default="60s",
    show_default=True,
    help="Time between two looks at the host's address.",
)
@option(
    "network-healer",
    "--state",
    type=DIRECTORY,
    show_default=True,
    default="/opt/groundlight/edge/healer",
    help="Where the address is kept over restarts.",
)
@option(
    "network-healer",
    "--root",
    type=DIRECTORY,
    default="/",
    show_default=True,
    help="Where the host's file system is.",
)
@option(
    "network-healer",
    "--restart",
    "restart_command",
    metavar="COMMAND",
    help="What restarts k3s. Default: the host's systemd, or without one a signal to k3s.",
)
@option(
    "network-healer",
    "--wait",
    "patience",
    type=DURATION,
    default="180s",
    show_default=True,
    help="How long CoreDNS and Kubernetes' service address may take to come back.",
)
@option(
    "network-healer",
    "--towards",
    default="192.0.2.1",
    show_default=True,
    help="The address whose route tells the host's own. Nothing is sent to it.",
)
@option("network-healer", "--once", is_flag=True, help="Look once, and end.")
@option("network-healer", "--kubeconfig", type=FILE, help=KUBECONFIG)
def network_healer(
    every: float, state: Path, root: Path, restart_command: str | None, patience: float,
    towards: str, once: bool, kubeconfig: Path | None,
) -> None:  # fmt: skip
    """Restart k3s when the host's address has changed, and see it come back.

    In a pod: hostNetwork, hostPID and privileged. Offline nothing is done.
    """
    from hardtack.deploy.jobs import network_healer as doing
    from hardtack.deploy.jobs import restarting
    from hardtack.deploy.jobs.cluster import address
    from hardtack.endpoint.backends.kubernetes.access import find
    from hardtack.endpoint.backends.kubernetes.client import Cluster

    access = find(kubeconfig)
    system, server = Cluster(access, "kube-system"), address(access)
    command = shlex.split(restart_command) if restart_command else None

    def heal() -> doing.Healed:
        return doing.watch(system, lambda: doing.reachable(*server), patience=patience)

    healer = doing.Healer(
        state, root, lambda: restarting.restart(command, proc=root / "proc"), heal, towards=towards
    )
    stop = _until_told()
    while True:
        try:
            healer.check()
        except OSError as error:
            raise ConfigError(f"{state} can't be used: {error.strerror}.") from None
        if once or stop.wait(every):
            return


@job.command("k3s-memory")
@option(
    "k3s-memory",
    "--eviction-hard-percent",
    type=float,
    default=15,
    show_default=True,
    help="Pods are evicted at once below this percentage of memory free,",
)
@option(
    "k3s-memory",
    "--eviction-hard-min-gb",
    type=float,
    default=4,
    show_default=True,
    help="or below so many GB: the smaller of the two.",
)
@option(
    "k3s-memory",
    "--eviction-soft-percent",
    type=float,
    default=25,
    show_default=True,
    help="The same for soft eviction, which waits for the grace period.",
)
@option("k3s-memory", "--eviction-soft-min-gb", type=float, default=8, show_default=True)
@option("k3s-memory", "--eviction-grace-period", type=DURATION, default="10s", show_default=True)
@option(
    "k3s-memory",
    "--system-reserved",
    type=SIZE,
    default="0",
    help="Memory kept for k3s and the system. Default: none.",
)
@option(
    "k3s-memory",
    "--root",
    type=DIRECTORY,
    default="/",
    show_default=True,
    help="Where the host's file system is.",
)
@option(
    "k3s-memory",
    "--nodes",
    type=click.IntRange(1),
    help="How many nodes the cluster has. Default: asked in a pod, else what k3s's files say.",
)
@option(
    "k3s-memory",
    "--restart/--no-restart",
    default=False,
    show_default=True,
    help="Restart k3s if it must read the file anew.",
)
@option("k3s-memory", "--remove", is_flag=True, help="Take the configuration away again.")
@json_option
def k3s_memory(
    root: Path, nodes: int | None, restart: bool, remove: bool, as_json: bool, **values: Any
) -> None:
    """Tell the kubelet of a single-node k3s when memory is short; say whether k3s must restart."""
    from hardtack.deploy.jobs import k3s_memory as doing
    from hardtack.deploy.jobs import restarting
    from hardtack.deploy.jobs.cluster import nodes as count
    from hardtack.endpoint.backends.kubernetes.access import ACCOUNT, find
    from hardtack.endpoint.backends.kubernetes.client import Cluster

    if remove:
        result = doing.remove(root)
    else:
        thresholds = doing.Thresholds(
            values["eviction_hard_percent"],
            values["eviction_soft_percent"],
            values["eviction_hard_min_gb"],
            values["eviction_soft_min_gb"],
            values["eviction_grace_period"],
            values["system_reserved"],
        )
        if nodes is None and (ACCOUNT / "token").exists():
            nodes = count(Cluster(find()))
        result = doing.configure(root, thresholds, nodes=nodes)
    restarted = restarting.restart(proc=root / "proc") if restart and result.restart else ""
    if as_json:
        print_json({**dataclasses.asdict(result), "restarted": restarted})
        return
    click.echo(f"{root / doing.FILE}: {result.outcome}")
    if restarted:
        click.echo(f"k3s was restarted: {restarted}")
    elif result.restart:
        click.echo("k3s must be restarted to read it: systemctl restart k3s")
    else:
        click.echo("k3s need not be restarted")


@job.command("check-values")
@option(
    "check-values",
    "--file",
    "files",
    type=FILE,
    multiple=True,
    help="Values, YAML or JSON; later ones go before earlier ones. Again for each.",
)
@option(
    "check-values", "--values", "text", help="Values as text, YAML or JSON; go before all files."
)
@json_option
def check_values(files: tuple[Path, ...], text: str | None, as_json: bool) -> None:
    """Check an installation's values before anything of it starts. Exit 1 with what is wrong.

    In a pod names aren't checked: Helm has, by the chart's own version.
    """
    from hardtack.deploy.jobs import check_values as doing
    from hardtack.deploy.valuefiles import over, parse_values, read_values, values_in_force

    if not files and not text:
        raise click.UsageError("Give values: --file FILE, or --values TEXT.")
    values = read_values(files)
    if text:
        values = over(values, parse_values(text, "--values"))
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        found = doing.check(values)  # all of them: Helm has laid them over the chart's
    else:
        from hardtack.deploy.valuenames import unknown

        found = unknown(values) + doing.check(over(values_in_force([]), values))
    if as_json:
        print_json(found)
    elif found:
        print_table(
            ("value", "expected", "found", "what to do"),
            ((f.value, f.expected, f.found, f.remedy) for f in found),
        )
    else:
        click.echo("The values can be used.")
    sys.exit(1 if found else 0)


def _until_told() -> threading.Event:
    """Set by SIGTERM and Ctrl-C: a loop ends between two rounds, with exit code 0."""
    stop = threading.Event()

    def end(number: int, _: FrameType | None) -> None:
        stop.set()
        log.info("ended by %s", signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    return stop
