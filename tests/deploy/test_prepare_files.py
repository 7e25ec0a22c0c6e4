"""The steps of `box prepare` that need no kernel: files of a box, and a clock that is given."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from hardtack.core.errors import BoxError, ConfigError
from hardtack.deploy.facts.read import KEPT
from hardtack.deploy.prepare import cgroups, clock, flavour, images, manifests, run, step
from hardtack.deploy.prepare.boot import units
from hardtack.deploy.prepare.iptables import parse
from hardtack.deploy.prepare.step import Step, Target
from hardtack.deploy.ready import box
from tests.support.ready import ship, write_root

ROOT = Path(__file__).parents[2]


@pytest.fixture
def target(tmp_path: Path) -> Target:
    write_root(tmp_path)
    return Target(tmp_path, tmp_path / "given/images", tmp_path / "given/manifests",
                  images_to=tmp_path / "var/lib/rancher/k3s/agent/images")  # fmt: skip


def _do(target: Target, step: Step) -> tuple[str, ...]:
    (done,) = run.prepare(target, [step])
    return done.changes


def _undo(target: Target, step: Step) -> None:
    run.undo(target, [step])


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("", "can't be run: Exec format error"),
        ("#!/bin/sh\nexec sleep 1000\n", "ip link didn't end within 0.5 s"),
        ("#!/bin/sh\nprintf '\\303' >&2; exit 2\n", "ip link: \ufffd"),
    ],
)
def test_a_program_of_the_system_that_cant_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, said: str
) -> None:
    (tmp_path / "ip").write_text(program)
    (tmp_path / "ip").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(step, "_PATIENCE", 0.5)
    with pytest.raises(BoxError, match=said):
        step.run("ip", "link")


def test_a_clock_in_the_past_is_set_and_later_not_again(target: Target) -> None:
    now, noted = [1_000_000.0], 1_800_000_000.0
    os.utime(target.root / KEPT, (noted, noted))
    past = replace(target, now=lambda: now[0], set_clock=lambda to: now.__setitem__(0, to))
    assert [c.partition(",")[0] for c in _do(past, clock.STEP)] == [
        "set the clock to 2027-01-15 08:00:00 UTC"
    ]
    assert now == [noted]
    assert _do(past, clock.STEP) == ()
    now[0] += 7200
    (note,) = _do(past, clock.STEP)
    assert note.startswith("note the time")
    assert (target.root / KEPT).stat().st_mtime == now[0]


def test_ready_is_content_with_a_clock_that_was_set(target: Target) -> None:
    """(The machine's own clock stays as it is: the box's is given.)"""
    now, noted = [1_000_000.0], 1_800_000_000.0
    os.utime(target.root / KEPT, (noted, noted))
    past = replace(target, now=lambda: now[0], set_clock=lambda to: now.__setitem__(0, to))
    ((said, remedy),) = box.clock(past.facts())
    assert "behind the time noted" in said
    assert "box prepare" in remedy
    _do(past, clock.STEP)
    assert list(box.clock(past.facts())) == []


def test_a_clock_that_may_not_be_set_ends_it(target: Target) -> None:
    def refused(_: float) -> None:
        raise BoxError("The clock may not be set.")

    os.utime(target.root / KEPT, (2e9, 2e9))
    with pytest.raises(BoxError, match="step clock: The clock may not"):
        _do(replace(target, set_clock=refused), clock.STEP)


def _cgroup(target: Target, *, own: bool, processes: str = "") -> Path:
    top = target.path(cgroups.TREE)
    top.mkdir(parents=True)
    (top / "cgroup.controllers").write_text("cpu memory pids\n")
    (top / "cgroup.subtree_control").write_text("cpu\n")
    (top / "cgroup.procs").write_text(processes)
    if own:
        (top / "cgroup.type").write_text("domain\n")
    return top


def test_controllers_are_passed_on(target: Target) -> None:
    """(What these files do when written to is the kernel's; see the test beside the kernel.)"""
    top = _cgroup(target, own=False, processes="1\n2\n")
    (change,) = _do(target, cgroups.STEP)  # the machine's root: processes may stay
    assert change == f"pass on memory pids in {top}/cgroup.subtree_control"
    assert (top / "cgroup.subtree_control").read_text() == "+pids"


def test_processes_that_dont_go_end_it(target: Target) -> None:
    _cgroup(target, own=True, processes="1\n")
    with pytest.raises(BoxError, match="still has processes"):
        _do(target, cgroups.STEP)


def test_nothing_to_pass_on(target: Target) -> None:
    assert _do(target, cgroups.STEP) == ()  # no cgroup v2
    top = _cgroup(target, own=True, processes="1\n")
    (top / "cgroup.subtree_control").write_text("cpu memory pids\n")
    assert _do(target, cgroups.STEP) == ()


def test_flavours(target: Target) -> None:
    def written(**signs: str) -> str:
        for name, text in signs.items():
            path = target.path(name.replace("__", "/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        _do(target, flavour.STEP)
        return target.path(flavour.place(target)).read_text()

    assert written() == "cpu\n"
    assert written(dev__nvidiactl="") == "gpu\n"
    (target.root / "shared").mkdir()
    compatible = "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0"
    assert written(**{"proc__device-tree__compatible": compatible}) == "jetson\n"
    assert (target.root / "shared/INFERENCE_FLAVOR").is_file()
    assert _do(replace(target, flavor="cpu"), flavour.STEP)
    assert (target.root / "shared/INFERENCE_FLAVOR").read_text() == "cpu\n"
    with pytest.raises(ConfigError, match="tpu"):
        flavour.checked("tpu")


def test_manifests_that_are_ours_and_others(target: Target) -> None:
    to = target.path(manifests.TO)
    to.mkdir(parents=True)
    (to / "coredns.yaml").write_text("k3s's own")
    target.manifests.mkdir(parents=True)
    (target.manifests / "a.yaml").write_text("one")
    (target.manifests / "b.yaml").write_text("two")
    (target.manifests / "README").write_text("no manifest")
    assert len(_do(target, manifests.STEP)) == 3
    assert _do(target, manifests.STEP) == ()
    (target.manifests / "b.yaml").unlink()
    (target.manifests / "a.yaml").write_text("one, changed")
    assert _do(target, manifests.STEP)
    assert {p.name: p.read_text() for p in to.iterdir()} == {
        "coredns.yaml": "k3s's own", "a.yaml": "one, changed",
    }  # fmt: skip
    assert _do(target, manifests.STEP) == ()
    _undo(target, manifests.STEP)
    assert [p.name for p in to.iterdir()] == ["coredns.yaml"]


@pytest.mark.needs("registry")
def test_bundles_are_installed(target: Target, tmp_path: Path) -> None:
    shipped = ship(tmp_path)
    target.images.parent.mkdir()
    (shipped / "bundles").rename(target.images)
    before = sorted(target.root.rglob("*"))
    (told,) = run.prepare(target, [images.STEP], dry_run=True)
    assert told.changes
    assert sorted(target.root.rglob("*")) == before
    assert _do(target, images.STEP) == told.changes
    assert [p.name for p in target.images_to.glob("*.tar")]
    assert _do(target, images.STEP) == ()


def test_rules_with_quotes_are_read() -> None:
    table = parse(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:CNI-X - [0:0]\n"
        '-A CNI-X -m comment --comment "a \\"b\\" c" -j RETURN\nCOMMIT\n'
    )
    assert table.chains == {"PREROUTING": "ACCEPT", "CNI-X": "-"}
    assert table.rules == [["-A", "CNI-X", "-m", "comment", "--comment", 'a "b" c', "-j", "RETURN"]]


def test_the_units_of_the_checkout_are_those_that_prepare_writes() -> None:
    for name, text in units(("hardtack", "box", "prepare")).items():
        assert (ROOT / "deploy/systemd" / name).read_text() == text
