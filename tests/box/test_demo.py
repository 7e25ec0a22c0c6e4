"""The main job runs, as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import run

pytestmark = pytest.mark.needs("fuse", "root")


def test_the_demo_reads_the_label_with_and_without_network() -> None:
    done = run("demo", "--json")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    shown = [row.split("  ")[0] for row in readme.split("<!-- demo -->")[1].splitlines()]
    assert [s["what"] for s in outcome["steps"] if s["what"] not in shown] == []
    answers = [step for step in outcome["steps"] if step["what"].startswith("read the label")]
    assert [step["online"] for step in answers] == [True, False]
    assert {step["result"] for step in answers} == {"HARDTACK KEEPS 4711"}
    in_flight = 4 << 20  # what four requests carried when the worker was killed comes again
    assert outcome["wire_bytes"] <= 1.01 * outcome["weights_bytes"] + in_flight
