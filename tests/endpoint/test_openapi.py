"""The API keeps what its OpenAPI description says: schemathesis drives it, always the same way."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hardtack.demo.detectors import SAMPLES
from tests.support.commands import clean_environment
from tests.support.endpoints import Endpoint, endpoint, write_detectors, write_models

ZERO = SAMPLES[5]
SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))


CONFIG = Path(__file__).with_name("schemathesis.toml")


def drive(url: str, directory: Path, config: Path = CONFIG) -> str:
    """Let schemathesis run against a description; what it says. It must find nothing."""
    done = subprocess.run(
        [SCHEMATHESIS, "--config-file", str(config), "run",
         url, "--seed", "5", "--generation-deterministic", "--no-color", "--phases",
         "examples,coverage,fuzzing", "--max-examples", "15", "--request-timeout", "30",
         "--suppress-health-check", "all"],
        cwd=directory, env=clean_environment({"NO_PROXY": "*"}), capture_output=True, text=True,
        check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    directory = tmp_path_factory.mktemp("endpoint")
    models = write_models(directory, [ZERO])
    detectors = write_detectors(directory / "detectors.yaml", [ZERO])
    with endpoint(directory, models, detectors) as running:
        running.submit(ZERO)
        yield running


def test_the_endpoint_does_what_its_description_says(served: Endpoint, tmp_path: Path) -> None:
    said = drive(served.url + "/openapi.json", tmp_path)
    assert "❌" not in said
    assert re.search(r"Tested: +\d\d", said)
    assert served.submit(ZERO).status == 200


def test_every_route_is_described(served: Endpoint) -> None:
    described = served.json("/openapi.json")["paths"]
    for path in described:
        known = path.replace("{id}", ZERO.id).replace("{snippet}", "x")
        for prefix in ("", "/device-api"):
            reply = served.ask("GET", prefix + known)
            assert reply.status != 405
            assert str(reply.status) in described[path]["get"]["responses"], path
