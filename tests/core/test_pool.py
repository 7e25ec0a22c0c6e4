"""Work done by threads, and taken back as it ends."""

from __future__ import annotations

import threading

import pytest

from hardtack.core.pool import Pool


def test_what_ended_first_is_had_first() -> None:
    gate = threading.Event()

    def late() -> str:
        gate.wait(60)
        return "late"

    with Pool[str](2, "pool") as pool:
        pool.submit(late)
        pool.submit(lambda: "soon")
        assert pool.under_way == 2
        assert pool.ended() == "soon"
        gate.set()
        assert pool.ended() == "late"
        assert pool.under_way == 0


def test_what_failed_is_raised_by_whoever_takes_it() -> None:
    def fail() -> None:
        raise ValueError("so it failed")

    with pytest.raises(ValueError, match="so it failed"), Pool[None](1, "pool") as pool:
        pool.submit(fail)
        pool.ended()
