"""What the log says of detectors that don't answer."""

from __future__ import annotations

import logging

import pytest

from hardtack.endpoint.phases import Phases
from hardtack.endpoint.servers import State

CRASHED = State("failed", note="It crashed.")
LOADING = State("loading")


def test_each_phase_is_told_once_until_the_detector_answers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    states = [State("absent", note="There is no model."), CRASHED, CRASHED, LOADING, CRASHED]
    states += [LOADING, State("ready"), CRASHED]
    now = iter(states)
    seen = Phases(lambda _: next(now))
    for _ in states:
        seen.look(["det_1"])
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "det_1: absent: There is no model."),
        ("WARNING", "det_1: failed: It crashed."),
        ("INFO", "det_1: loading"),
        ("INFO", "det_1: ready"),
        ("WARNING", "det_1: failed: It crashed."),
    ]
