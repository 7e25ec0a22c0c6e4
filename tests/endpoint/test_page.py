"""The status page, in Debian's Chromium."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from hardtack.demo.detectors import SAMPLES
from tests.endpoint.test_sdk import TOKEN
from tests.support.endpoints import Endpoint, endpoint, write_detectors, write_models

pytestmark = pytest.mark.needs("chromium")

ZERO, PARTS = SAMPLES[5], SAMPLES[8]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    directory = tmp_path_factory.mktemp("endpoint")
    models = write_models(directory, [ZERO, PARTS])
    detectors = write_detectors(directory / "detectors.yaml", [ZERO, PARTS])
    with endpoint(directory, models, detectors) as running:
        for sample in (ZERO, PARTS, PARTS):
            assert running.submit(sample).status == 200
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose console stays silent: no error, nothing that the policy forbids."""
    context = browser.new_context()
    said: list[str] = []
    made = context.new_page()
    made.on("console", lambda message: said.append(message.text))
    made.on("pageerror", lambda error: said.append(str(error)))
    yield made
    context.close()
    assert not said


def card(page: Page, identity: str) -> Any:
    return page.locator(f"article#{identity}")


def told(page: Page, served: Endpoint, **changed: Any) -> None:
    """Open the page on a box that says `changed` beside what it says."""
    status = {**served.json("/status/metrics.json"), **changed}

    def answer(route: Route) -> None:
        route.fulfill(body=json.dumps(status), content_type="application/json")

    page.route("**/status/metrics.json", answer)
    page.goto(served.url + "/status")


def test_detectors_are_shown_with_their_last_answers(page: Page, served: Endpoint) -> None:
    page.goto(served.url + "/status")
    expect(page.locator("#ready")).to_have_text("2 of 2 detectors ready")
    parts = card(page, PARTS.id)
    expect(parts.locator("h2")).to_have_text(PARTS.name)
    expect(parts.locator(".phase")).to_have_text("ready")
    expect(parts.locator(".last strong")).to_have_text(f"{PARTS.shows} objects")
    expect(parts.locator(".id")).to_contain_text("version 1")
    expect(parts.locator(".figures")).to_contain_text("p99")
    expect(parts.get_by_role("img", name="90 to 100 %: 2")).to_be_visible()
    expect(parts.locator(".before li")).to_have_count(1)


def test_pictures_bear_their_boxes(page: Page, served: Endpoint) -> None:
    page.goto(served.url + "/status")
    picture = card(page, PARTS.id).locator(".picture")
    expect(picture.locator("rect:not(.under)")).to_have_count(int(PARTS.shows))
    image = picture.locator("img")
    page.wait_for_function("image => image.naturalWidth > 0", arg=image.element_handle())
    body = image.bounding_box()
    assert body is not None
    for box in picture.locator("rect:not(.under)").all():
        found = box.bounding_box()
        assert found is not None
        assert body["x"] - 2 <= found["x"] <= body["x"] + body["width"]
        assert body["y"] - 2 <= found["y"] <= body["y"] + body["height"]


def test_an_answer_appears_without_a_reload(page: Page, served: Endpoint) -> None:
    page.goto(served.url + "/status")
    shown = card(page, ZERO.id)
    answers = served.json("/status/metrics.json")["detectors"][ZERO.id]["answers"]
    expect(shown.locator(".figures")).to_contain_text(f"answers{answers}")
    served.submit(ZERO)
    expect(shown.locator(".figures")).to_contain_text(f"answers{answers + 1}")


def test_everything_comes_from_the_box_under_a_strict_policy(page: Page, served: Endpoint) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    reply = page.goto(served.url + "/status")
    assert reply is not None
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    expect(page.locator("article img").first).to_be_visible()
    assert len(asked) > 6
    assert all(url.startswith(served.url) for url in asked)


def test_an_answer_is_opened_turned_and_closed_with_the_keyboard(
    page: Page, served: Endpoint
) -> None:
    page.goto(served.url + "/status")
    parts = card(page, PARTS.id)
    expect(parts.locator(".before li")).to_have_count(1)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(20):
        page.keyboard.press("Tab")
        if parts.locator(".show").evaluate("button => button === document.activeElement"):
            break
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name=PARTS.name)
    expect(dialog.locator(".boxes li")).to_have_count(int(PARTS.shows))
    first = dialog.locator("dd").last.text_content()
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("button", name="Older")).to_be_disabled()
    expect(dialog.locator("dd").last).not_to_have_text(first or "")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(parts.locator(".show")).to_be_focused()


@pytest.mark.parametrize("width", [320, 390, 1600])
def test_it_fits_phones_and_screens(page: Page, served: Endpoint, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(served.url + "/status")
    expect(page.locator("article")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    card(page, PARTS.id).locator(".show").click()
    box = page.get_by_role("dialog").bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width


def test_words_without_an_end_fit_a_phone(page: Page, served: Endpoint) -> None:
    status = served.json("/status/metrics.json")
    long, parts = "W" * 300, status["detectors"][PARTS.id]
    parts |= {"name": long, "query": long}
    parts["server"]["note"] = long
    for query in parts["last"]:
        query["query"] = query["rois"][0]["label"] = long
    page.set_viewport_size({"width": 320, "height": 800})
    told(
        page,
        served,
        detectors=status["detectors"],
        ready={"at": 0, "ready": False, "missing": [long]},
    )
    expect(card(page, PARTS.id).locator(".question")).to_have_text(long)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    card(page, PARTS.id).locator(".show").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("h2")).to_have_text(long)
    assert dialog.evaluate("it => it.scrollWidth <= it.clientWidth")


def test_dark_and_light_follow_the_system(page: Page, served: Endpoint) -> None:
    page.goto(served.url + "/status")
    grounds = []
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(map(int, re.findall(r"\d+", ground)[:3])))
    dark, light = grounds
    assert dark < 3 * 64 < 3 * 192 < light


def test_loading_shows_the_weights_on_their_way(page: Page, served: Endpoint) -> None:
    status = served.json("/status/metrics.json")["detectors"]
    server = {"phase": "loading", "version": "2", "note": "", "restarts": 1}
    status[ZERO.id]["server"] = {**server, "weights": [61_000_000, 97_000_000]}
    told(page, served, detectors=status)
    shown = card(page, ZERO.id)
    expect(shown.locator(".phase")).to_have_text("loading")
    expect(shown.get_by_role("progressbar")).to_have_attribute("max", "97000000")
    expect(shown.locator(".weights")).to_contain_text("61 MB of 97 MB of weights, 62 %")
    expect(shown.locator(".note")).to_have_text("restarted 1 time")
    expect(page.locator("#ready")).to_have_text("1 of 2 detectors ready")


def test_mount_cloud_and_queue_say_how_they_are(page: Page, served: Endpoint) -> None:
    now = 1_800_000_000
    mount = {
        "answers": True, "source": "s3://weights", "objects": 9, "bytes": 5e9, "complete": 7,
        "partial": 1, "present_bytes": 4e9, "reachable_since": None, "last_error": "no route",
        "unreachable_since": now - 600, "fetching": [["models/a.onnx", 1, 4]], "eta": 40.0,
    }  # fmt: skip
    cloud = {
        "url": "https://cloud", "reachable": False, "since_seconds": 30, "reason": "refused",
        "queue": {"size": 3, "bytes": 2e6, "dropped": {"old_audit": 4}}, "held": 1,
    }  # fmt: skip
    told(page, served, now=now, mount=mount, cloud=cloud, image_queries_lost=2)
    weights = page.get_by_role("region", name="Weights")
    expect(weights).to_contain_text("7 of 9 files are on this box.")
    expect(weights).to_contain_text("no, for 10 min: no route")
    expect(weights).to_contain_text("With holes1 file")
    expect(weights.locator(".fetching")).to_contain_text("models/a.onnx25 %")
    expect(page.get_by_role("region", name="Cloud")).to_contain_text("Away for30 s")
    queue = page.get_by_role("region", name="Escalation queue")
    expect(queue).to_contain_text("3 image queries wait for the cloud.")
    expect(queue).to_contain_text("Dropped: old audit4")
    expect(queue).to_contain_text("Lost to the disk2")
    mount |= {"reachable_since": now - 7200, "unreachable_since": None}
    page.unroute_all()
    told(page, served, now=now, mount=mount)
    expect(weights).to_contain_text("yes, for 2 h")


def test_whether_the_cable_may_be_pulled_is_told(browser: Browser, tmp_path: Path) -> None:
    models = write_models(tmp_path, [ZERO])
    detectors = write_detectors(tmp_path / "detectors.yaml", [ZERO])
    verdict = tmp_path / "ready.json"
    page = browser.new_page()
    with endpoint(tmp_path, models, detectors, "--ready-file", str(verdict)) as running:
        page.goto(running.url + "/status")
        expect(page.locator("article")).to_have_count(1)
        expect(page.locator("#unplug")).to_be_hidden()
        verdict.write_text(json.dumps({"ready": True, "at": time.time(), "missing": []}))
        expect(page.locator("#unplug")).to_contain_text("would come up with no network")
        missing = ["the image app/camera:v1", "2 weights"]
        verdict.write_text(json.dumps({"ready": False, "at": 0, "missing": missing}))
        expect(page.locator("#unplug")).to_contain_text("the image app/camera:v1; 2 weights")
        verdict.write_text("{")  # caught while it was written by something else
        expect(page.locator("#unplug")).to_be_hidden()
    page.close()


def test_a_mount_that_hangs_is_told(page: Page, served: Endpoint) -> None:
    told(page, served, now=1000, mount={"answers": False, "silent_since": 880})
    weights = page.get_by_role("region", name="Weights")
    expect(weights).to_contain_text("The mount has not answered for 2 min.")


def test_what_a_model_says_is_no_markup(page: Page, served: Endpoint) -> None:
    status = served.json("/status/metrics.json")["detectors"]
    evil = "<img src=x onerror=alert(1)>"
    status[ZERO.id] |= {"name": evil, "query": evil}
    status[ZERO.id]["last"][0]["result"]["label"] = evil
    told(page, served, detectors=status)
    expect(card(page, ZERO.id).locator("h2")).to_have_text(evil)
    expect(card(page, ZERO.id).locator(".last strong")).to_have_text(evil)


def test_a_box_that_went_away_is_told(browser: Browser, tmp_path: Path) -> None:
    models = write_models(tmp_path, [ZERO])
    detectors = write_detectors(tmp_path / "detectors.yaml", [ZERO])
    page = browser.new_page()
    with endpoint(tmp_path, models, detectors) as running:
        page.goto(running.url + "/status")
        expect(page.locator("article")).to_have_count(1)
    expect(page.get_by_role("alert")).to_contain_text("has not answered since", timeout=20_000)
    expect(page.locator("article")).to_have_count(1)
    page.close()


def test_a_browser_that_has_the_token_sees_it_all(browser: Browser, tmp_path: Path) -> None:
    models = write_models(tmp_path, [ZERO])
    detectors = write_detectors(tmp_path / "detectors.yaml", [ZERO])
    (tmp_path / "token").write_text(TOKEN)
    with endpoint(tmp_path, models, detectors, "--token-file", str(tmp_path / "token")) as running:
        basic = "Basic " + base64.b64encode(f"x:{TOKEN}".encode()).decode()
        parameters = f"/device-api/v1/image-queries?detector_id={ZERO.id}"
        headers = {"authorization": basic, "content-type": "image/png"}
        assert running.ask("POST", parameters, body=ZERO.picture(), **headers).status == 200
        context = browser.new_context(http_credentials={"username": "x", "password": TOKEN})
        page = context.new_page()
        page.goto(running.url + "/status")
        image = page.locator("article img")
        expect(image).to_be_visible()
        page.wait_for_function("image => image.naturalWidth > 0", arg=image.element_handle())
        context.close()


def test_a_file_that_is_known_is_not_sent_again(served: Endpoint) -> None:
    first = served.ask("GET", "/status/page.js")
    assert first.headers["content-type"].startswith("text/javascript")
    again = served.ask("GET", "/status/page.js", None, **{"if-none-match": first.headers["etag"]})
    assert (again.status, again.data) == (304, b"")


def test_a_picture_can_do_nothing_in_a_browser(served: Endpoint) -> None:
    query = served.submit(ZERO).json()["id"]
    reply = served.ask("GET", f"/device-api/v1/image-queries/{query}/image")
    assert "sandbox" in reply.headers["content-security-policy"]
    assert reply.headers["x-content-type-options"] == "nosniff"
