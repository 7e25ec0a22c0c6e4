"""Write docs/status.png anew: the status page of nine detectors that have answered, in Chromium."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.endpoints import endpoint, write_detectors, write_models  # noqa: E402

from hardtack.demo.detectors import SAMPLES  # noqa: E402


def main() -> None:
    """`tools/screenshot.py [DIR]`: with DIR also a phone's view and a dark one, there."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        models, detectors = write_models(work), write_detectors(work / "detectors.yaml")
        with endpoint(work, models, detectors) as running:
            for sample in SAMPLES:
                for _ in range(3):
                    running.submit(sample)
            with sync_playwright() as playwright:
                chromium = playwright.chromium.launch(
                    executable_path="/usr/bin/chromium", args=["--no-sandbox"]
                )
                page = chromium.new_page(viewport={"width": 1280, "height": 900})
                _shoot(page, running.url, ROOT / "docs" / "status.png", full=False)
                for directory in sys.argv[1:]:
                    page.emulate_media(color_scheme="dark")
                    _shoot(page, running.url, Path(directory) / "dark.png", full=True)
                    page.set_viewport_size({"width": 390, "height": 844})
                    _shoot(page, running.url, Path(directory) / "phone.png", full=True)
                chromium.close()


def _shoot(page: Page, url: str, to: Path, *, full: bool) -> None:
    page.goto(url + "/status")
    page.locator("article img").nth(len(SAMPLES) - 1).wait_for()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=str(to), full_page=full)


if __name__ == "__main__":
    main()
