"""What the chart says is what the program reads, and the rights it gives are those it uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from hardtack.cache.api import Options
from hardtack.cli.main import hardtack
from hardtack.cli.options import cache_options
from hardtack.core.units import parse_size
from tests.deploy.test_chart import COMBINATIONS
from tests.support.chart import Manifest, pod_specs, rendered

pytestmark = pytest.mark.needs("npm")

ROOT = Path(__file__).parents[2]


def found(command: list[str]) -> tuple[click.Command, click.Context, list[str]]:
    """The click command that `hardtack …` names, its context, and what is left for it."""
    words = command[1:]
    at: click.Command = hardtack
    ctx = click.Context(hardtack, info_name="hardtack")
    while isinstance(at, click.Group):
        name = words.pop(0)
        child = at.get_command(ctx, name)
        assert child is not None, command
        at, ctx = child, click.Context(child, parent=ctx, info_name=name)
    assert ctx.parent is not None
    return at, ctx.parent, words


def variables(command: click.Command) -> set[str]:
    names: set[str] = set()
    for parameter in (*command.params, *hardtack.params):
        given = parameter.envvar or ()
        names |= {given} if isinstance(given, str) else set(given)
    return names


@pytest.mark.parametrize("name", COMBINATIONS)
def test_every_container_can_be_started(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its command is one, its options and variables exist, and their values are accepted."""
    ours = 0
    for _, spec in pod_specs(rendered(COMBINATIONS[name])):
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            if container["command"][0] != "hardtack":
                continue
            ours += 1
            command, parent, words = found(container["command"])
            given = {e["name"]: e.get("value", "x") for e in container.get("env", ())}
            known = variables(command)
            assert {n for n in given if n.startswith("HARDTACK_")} <= known, container["name"]
            with monkeypatch.context() as patch:
                for variable, value in given.items():
                    patch.setenv(variable, value)
                command.make_context(str(command.name), words, parent=parent)
    assert ours >= 4


def test_the_mount_behaves_as_without_the_chart(monkeypatch: pytest.MonkeyPatch) -> None:
    """How often it lists, what it leaves free: the chart, the program, and docs/scale.md's
    simulation have the same defaults."""
    (mount,) = (
        c for _, spec in pod_specs(rendered()) for c in spec.get("initContainers", ())
        if c["name"] == "mount"
    )  # fmt: skip
    command, parent, words = found(mount["command"])
    with monkeypatch.context() as patch:
        for one in mount["env"]:
            if one["name"] in ("HARDTACK_REFRESH_INTERVAL", "HARDTACK_KEEP_FREE"):
                patch.setenv(one["name"], one["value"])
        charted = cache_options(command.make_context("mount", words, parent=parent).params)
    plain = cache_options(command.make_context("mount", words, parent=parent).params)
    assert charted == plain == Options()


def test_the_mount_asks_for_the_memory_that_was_measured() -> None:
    parts = json.loads((ROOT / "bench/weights.json").read_text()).values()
    measured = {f["name"]: f["ratio"] for part in parts for f in part["figures"]}
    most = max(measured["memory, idle"], measured["memory, 8 cold readers"])
    mount = yaml.safe_load((ROOT / "charts/hardtack/values.yaml").read_text())["mount"]
    request = parse_size(mount["resources"]["requests"]["memory"] + "B") / 2**20
    assert most <= request <= 2 * most


def role(manifests: list[Manifest], name: str) -> Any:
    (found_role,) = (
        m for m in manifests if m["kind"] == "Role" and m["metadata"]["name"] == name
    )  # fmt: skip
    return found_role["rules"]


def test_the_endpoint_may_what_its_backend_does() -> None:
    from hardtack.endpoint.backends.kubernetes import manifests

    assert role(rendered(), "edge-endpoint") == manifests.rules()


def test_the_policies_know_the_inference_servers() -> None:
    from hardtack.endpoint.backends.kubernetes.manifests import OWNED

    labels = dict(pair.split("=") for pair in OWNED.split(","))
    policies = {m["metadata"]["name"]: m for m in rendered() if m["kind"] == "NetworkPolicy"}
    inference = policies["edge-endpoint-inference"]["spec"]
    assert inference["podSelector"]["matchLabels"] == labels
    (towards,) = policies["edge-endpoint"]["spec"]["egress"][1]["to"]
    assert towards["podSelector"]["matchLabels"] == labels
