"""The main job runs, as a person runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

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
    demo.communicate(timeout=60)
    assert demo.returncode == code
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert list(tmp_path.iterdir()) == []
