"""The main job runs, as a person runs it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hardtack.demo import leftovers
from hardtack.demo.detectors import SAMPLES
from tests.support.commands import HARDTACK, clean_environment, run

pytestmark = pytest.mark.needs("fuse", "root")


def test_the_demo_answers_with_and_without_network() -> None:
    done = run("demo", "--json")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    shown = [row.split("  ")[0] for row in readme.split("<!-- demo -->")[1].splitlines()]
    assert [s["what"] for s in outcome["steps"] if s["what"] not in shown] == []
    answers = [step for step in outcome["steps"] if step["what"].startswith("read the label")]
    assert [step["online"] for step in answers] == [True, False]
    assert {step["result"] for step in answers} == {"HARDTACK KEEPS 4711"}
    asked = [step for step in outcome["steps"] if step["what"].startswith("ask all nine")]
    assert [step["online"] for step in asked] == [True, False]
    assert {a["detector"]: a["from_edge"] for a in outcome["answers"]} == dict.fromkeys(
        (sample.name for sample in SAMPLES), True
    )
    in_flight = 4 << 20  # what four requests carried when the worker was killed comes again
    assert outcome["wire_bytes"] <= 1.01 * outcome["weights_bytes"] + in_flight


def test_the_demo_without_fuse_answers_from_plain_files(tmp_path: Path) -> None:
    """In a mount namespace of its own, whose /dev lacks the device."""
    bare = tmp_path / "dev"
    bare.mkdir()
    kept = " ".join(("null", "zero", "urandom", "shm"))
    script = f"""
        set -e
        mount -t tmpfs none {bare}; mkdir {bare}/shm; touch {bare}/null {bare}/zero {bare}/urandom
        for name in {kept}; do mount --bind /dev/$name {bare}/$name; done
        mount --move {bare} /dev
        exec "$@"
    """
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *HARDTACK, "demo", "--json"],
        env=clean_environment(), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert not outcome["fuse"]
    assert outcome["steps"][1]["what"] == "no /dev/fuse here: prefetch to plain files"
    offline = [step for step in outcome["steps"] if not step["online"]]
    assert "HARDTACK KEEPS 4711" in {step["result"] for step in offline}
    assert [answer["from_edge"] for answer in outcome["answers"]] == [True] * len(SAMPLES)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_demo_that_is_ended_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    demo = subprocess.Popen(
        [*HARDTACK, "demo"], env=clean_environment({"TMPDIR": str(tmp_path)}),
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert demo.stderr is not None
    while "mount the bucket" not in demo.stderr.readline():
        assert demo.poll() is None
    assert str(tmp_path) in Path("/proc/self/mountinfo").read_text()
    os.kill(demo.pid, number)
    told = demo.communicate(timeout=60)[1]
    assert demo.returncode == code, told
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert list(tmp_path.iterdir()) == []


def test_the_next_demo_clears_what_a_killed_one_left(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Mount, endpoint, its servers, the S3 server; one that lives or is kept is left alone."""
    env = clean_environment({"TMPDIR": str(tmp_path)})
    with subprocess.Popen([*HARDTACK, "demo"], env=env, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stderr is not None
        while "start an endpoint" not in demo.stderr.readline():
            assert demo.poll() is None
        assert _cleared(env) == []
        demo.kill()
    (left,) = tmp_path.glob("hardtack-demo-*")
    request.addfinalizer(lambda: leftovers.remove(left))
    kept = tmp_path / "hardtack-demo-kept"
    kept.mkdir()
    (kept / "owner.json").write_text(
        json.dumps({"pid": 1, "started": "", "in": os.readlink("/proc/self/ns/pid"), "kept": True})
    )
    assert _named(left)
    assert _cleared(env) == [str(left)]
    assert _named(left) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert list(tmp_path.iterdir()) == [kept]


def _cleared(env: dict[str, str]) -> list[str]:
    script = "from hardtack.demo import leftovers; print(*leftovers.clear(), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def _named(directory: Path) -> list[int]:
    """The processes whose command line names the directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes()
            if os.fsencode(directory) in words:
                found.append(int(entry.name))
    return found
