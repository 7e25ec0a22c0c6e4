"""The simulation behind docs/scale.md, and the waits that keep boxes out of step."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from bench import fleet

from hardtack.core.backoff import Pace, Stagger

PAGE = Path(__file__).parents[2] / "docs/scale.md"


def test_no_wait_is_longer_than_the_interval_and_no_two_boxes_are_in_step() -> None:
    stagger, rng = Stagger(60), random.Random(1)
    first = [stagger.first(rng) for _ in range(1000)]
    later = [stagger.next(rng) for _ in range(1000)]
    assert 0 <= min(first) < 1
    assert 29 < max(first) <= 30
    assert 45 <= min(later) < 46
    assert 59 < max(later) <= 60
    assert Stagger(0.4).first(rng) <= 0.2
    assert max(Stagger(3600).first(rng) for _ in range(1000)) <= 300


def test_a_listing_over_a_thin_link_leaves_most_of_the_time_to_others() -> None:
    stagger, rng = Stagger(900), random.Random(1)
    assert 675 <= stagger.next(rng, took=7) <= 900
    assert stagger.next(rng, took=140) == 1260


def test_a_listing_that_an_outage_held_up_delays_none_after_it() -> None:
    pace = Pace(Stagger(2))
    assert pace.wait(6) <= 2
    assert pace.wait(0.01) <= 2
    assert pace.wait(120) <= 2
    assert pace.wait(90) == 810  # the second in a row: the link is thin
    assert pace.wait(100) == 810
    assert pace.wait(0.01) <= 2


@pytest.mark.parametrize("begin", fleet.Begin)
def test_every_box_gets_everything(begin: fleet.Begin) -> None:
    scenario = fleet.Scenario("any", size=20e6, objects=2500, begin=begin)
    result = fleet.simulate(scenario, boxes=100)
    slowest = min(rate for _, rate in fleet.LINKS)
    assert result.all >= 20e6 / slowest
    assert result.half <= result.all
    assert result.total == 100 * 20e6
    assert result.refused == 0
    assert fleet.simulate(scenario, boxes=100) == result


@pytest.mark.parametrize("begin", [b for b in fleet.Begin if b is not fleet.Begin.IN_STEP])
def test_ten_thousand_boxes_with_the_defaults_stay_within_the_limit(begin: fleet.Begin) -> None:
    """Of a source of 20,000 objects; little weights, so that the listings tell."""
    result = fleet.simulate(fleet.Scenario("any", size=1e6, objects=20_000, begin=begin))
    assert result.refused == 0
    assert result.peak < fleet.GETS_A_SECOND
    assert result.steady < fleet.GETS_A_SECOND / 5


def test_boxes_in_step_are_refused_and_those_that_stagger_are_not() -> None:
    def simulate(begin: fleet.Begin) -> fleet.Result:
        scenario = fleet.Scenario("any", size=8e6, begin=begin)
        return fleet.simulate(scenario, boxes=4000)

    in_step, out_of_step = simulate(fleet.Begin.IN_STEP), simulate(fleet.Begin.START)
    assert in_step.peak > fleet.GETS_A_SECOND
    assert in_step.refused > 0
    assert out_of_step.peak < fleet.GETS_A_SECOND / 2
    assert out_of_step.refused == 0
    assert in_step.total == out_of_step.total


def test_the_page_has_what_the_simulation_says() -> None:
    page, again = PAGE.read_text(), "write it anew: ./run bench fleet --write-docs"
    assert fleet.assumptions(fleet.BOXES) in page, again
    assert all(f"| {scenario.name} |" in page for scenario in fleet.SCENARIOS)
    row = " | ".join(fleet.simulate(fleet.SCENARIOS[1]).row())
    assert f"| {row} |" in page, again
