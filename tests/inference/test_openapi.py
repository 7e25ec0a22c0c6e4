"""The inference server keeps what its OpenAPI description says: schemathesis drives it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.endpoint.test_openapi import drive
from tests.inference.conftest import Place
from tests.inference.test_server import JPEG, SEVEN, serving


def test_the_server_does_what_its_description_says(place: Place, tmp_path: Path) -> None:
    with serving(place("digit"), "--max-body", "100kB") as server:
        config = Path(__file__).with_name("schemathesis.toml")
        said = drive(f"http://127.0.0.1:{server.port}/openapi.json", tmp_path, config=config)
        assert "❌" not in said
        assert re.search(r"Tested: +\d\d", said)
        assert server.ask("POST", "/infer", SEVEN, JPEG).status == 200


def test_every_route_is_described(place: Place) -> None:
    with serving(place("digit")) as server:
        described = server.ask("GET", "/openapi.json").json["paths"]
        for path, operations in described.items():
            known = path.replace("{model}", "det_x").replace("{version}", "1")
            reply = server.ask("GET", known)
            if "get" in operations:
                assert reply.status == 200, path
            else:
                assert reply.status == 405, path
