"""The drill, in short: the chart's pods on a box of namespaces, broken, cut off, up again."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from drill.ground import alone

from hardtack.deploy.ready.checks import Check
from tests.support.commands import clean_environment

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.needs("root", "fuse", "netns", "containerd", "cni", "registry", "skopeo", "image",
                      "npm"),
    pytest.mark.timeout(1200),
]  # fmt: skip
Drill = subprocess.Popen[str]


@contextmanager
def drilling(*arguments: str, **how: Any) -> Iterator[Drill]:
    """`./run drill` with arguments; it is ended, in order, when it isn't at its end by then."""
    command = [sys.executable, "-m", "drill", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, env=clean_environment(), stderr=subprocess.PIPE, text=True, **how
    ) as drill:
        try:
            yield drill
        finally:
            drill.terminate()


@pytest.fixture(scope="module")
def told() -> Any:
    """What the short drill says: steps and promises, and its process's number."""
    with drilling("--short", "--json", "--wait", stdout=subprocess.PIPE) as drill:
        said, steps = drill.communicate()
    assert drill.returncode == 0, steps
    return {**json.loads(said), "process": drill.pid}


def left_by(process: int) -> list[str]:
    """What there still is of the drill that had this process number."""
    name, hosts = f"hardtack-drill-{process}", {f"ht-site{process}", f"ht-box{process}"}
    found = [str(path) for path in Path("/var/tmp").glob(name)]
    found += [str(path) for path in Path("/run/netns").glob("ht-*") if path.name in hosts]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{name}")]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines()
              if name in line or any(host in line for host in hosts)]  # fmt: skip
    for each in Path("/proc").glob("[0-9]*"):
        try:
            line = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            mounts = (each / "mountinfo").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            mounts = ""  # it ends just now: its namespaces are gone already
        if name in line or name in mounts:
            found.append(f"{each.name} {line}")
    return found


def test_every_promise_has_its_evidence(told: Any) -> None:
    evidence = {one["promise"]: one["evidence"] for one in told["promises"]}
    assert all(evidence.values())
    assert set(evidence) >= {
        "every image is on the box before a pod asks for it",
        "the host and other pods see the mount",
        "nine detectors come up with no warm-up",
        "the SDK's queries are answered on the box",
        "weights are loaded from the mount",
        "the cache fills on first read, each byte once",
        "kill -9 the mount's worker under load",
        "replace the worker by version 1.1: upgrade the chart",
        "evict the mount's pod, and another comes",
        "the box comes up with the network cut",
        "`hardtack ready` was right",
        "a flapping link costs no answer",
        "what the box was unsure of reaches the cloud later",
        "new weights appear by themselves",
        "nobody but the registry, the bucket and its cloud is asked",
        "`hardtack ready` says what is missing",
    }


def test_the_box_came_up_and_answered_with_the_network_cut(told: Any) -> None:
    cut = [step["what"] for step in told["steps"] if step["network"] == "cut"]
    assert "power on, with no network" in cut
    assert "the Groundlight SDK asks all nine" in cut


def test_every_check_of_ready_was_broken(told: Any) -> None:
    (said,) = (s["result"] for s in told["steps"] if "`hardtack ready` checks" in s["what"])
    assert said.startswith(f"{len(Check)} of {len(Check)} named")


def test_nothing_is_left_behind(told: Any) -> None:
    assert left_by(told["process"]) == []


@pytest.mark.parametrize(
    ("number", "after"),
    [
        (signal.SIGINT, "prepare the box"),  # while pods start
        (signal.SIGTERM, "lock what the chart names"),  # while images come
    ],
)
def test_a_drill_that_is_ended_leaves_nothing_behind(number: signal.Signals, after: str) -> None:
    with drilling("--short", "--wait", start_new_session=True) as drill:
        assert drill.stderr is not None
        assert any(after in line for line in drill.stderr)
        os.killpg(drill.pid, number)  # as a terminal does it
        drill.send_signal(number)  # and once more
        drill.stderr.read()
        assert drill.wait() == 128 + number
    assert left_by(drill.pid) == []


def test_a_second_drill_is_refused(tmp_path: Path) -> None:
    with alone(wait=True), drilling("--short") as drill:
        assert drill.stderr is not None
        said = drill.stderr.read()
        assert drill.wait() == 1
    assert f"another drill runs (process {os.getpid()})" in said
