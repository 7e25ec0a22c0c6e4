"""Pictures, ids and configurations that the endpoint can't take: 4xx that say why, never more."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hardtack.core.errors import ConfigError
from hardtack.demo.detectors import SAMPLES
from hardtack.endpoint import edgeconfig
from hardtack.endpoint.detectors import read_detectors
from tests.inference.test_images import encoded, huge_png
from tests.support.commands import run
from tests.support.endpoints import Endpoint, endpoint, write_detectors, write_models

ZERO = SAMPLES[5]
with Image.open(io.BytesIO(ZERO.picture())) as _small:
    DIGIT = _small.convert("L").resize((64, 64))
UNKNOWN = "det_" + "9" * 27


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    directory = tmp_path_factory.mktemp("endpoint")
    models = write_models(directory, [ZERO])
    detectors = write_detectors(directory / "detectors.yaml", [ZERO])
    limits = ("--max-body", "2MB", "--max-pixels", "10000000")
    with endpoint(directory, models, detectors, *limits) as running:
        yield running


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3)).astype(np.uint8))
REFUSED = {
    "no picture": (b"no picture", "image/jpeg", 400, "not a picture"),
    "nothing": (b"", "image/jpeg", 400, "not a picture"),
    "wrong type": (ZERO.picture(), "text/plain", 415, "text/plain"),
    "truncated": (cut(encoded(NOISE, "JPEG")), "image/jpeg", 400, "damaged"),
    "100 megapixels": (huge_png(10_000), "image/png", 400, "10000 × 10000 pixels"),
    "more pixels than --max-pixels": (huge_png(4_000), "image/png", 400, "at most 10000000"),
    "HEIC": (b"\x00\x00\x00\x18ftypheic" + bytes(100), "image/heic", 400, "HEIC"),
    "too large": (bytes(2_000_001), "image/jpeg", 413, "limit of 2000000 bytes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_usable_picture_is_refused(served: Endpoint, name: str) -> None:
    body, media, status, said = REFUSED[name]
    reply = served.post(ZERO.id, body, media)
    assert reply.status == status
    assert said in reply.json()["detail"]
    assert served.submit(ZERO).status == 200


def test_a_body_without_a_length_is_limited_too(served: Endpoint) -> None:
    host, _, port = served.url.removeprefix("http://").partition(":")
    path = f"/device-api/v1/image-queries?detector_id={ZERO.id}"
    for pieces, status in (([ZERO.picture()], 200), ([bytes(100_000)] * 21, 413)):
        with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=60)) as caller:
            caller.request(
                "POST", path, iter(pieces), {"content-type": "image/png"}, encode_chunked=True
            )
            assert caller.getresponse().status == status


SIXTEEN = Image.fromarray(np.asarray(DIGIT).astype(np.uint16) * 257)
OTHER = Image.new("L", (64, 64))
TAKEN = {
    "CMYK": (encoded(DIGIT.convert("RGB").convert("CMYK"), "JPEG", quality=95), "image/jpeg"),
    "16 bits": (encoded(SIXTEEN, "PNG"), "image/png"),
    "animated": (encoded(DIGIT, "GIF", save_all=True, append_images=[OTHER]), "image/gif"),
    "called JPEG": (ZERO.picture(), "image/jpeg"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_unusual_pictures_of_a_zero_show_a_zero(served: Endpoint, name: str) -> None:
    reply = served.post(ZERO.id, *TAKEN[name])
    assert reply.status == 200
    assert reply.json()["result"]["label"] == ZERO.shows


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/v1/image-queries?detector_id=zero", "POST", 400),
        ("/v1/image-queries?detector_id=", "POST", 400),
        ("/v1/image-queries", "POST", 400),
        (f"/v1/image-queries?detector_id={UNKNOWN}%0a", "POST", 400),
        (f"/v1/image-queries?detector_id={UNKNOWN}", "POST", 404),
        ("/v1/detectors/zero", "GET", 400),
        ("/v1/detectors/..%2f..%2fetc", "GET", 404),
        (f"/v1/detectors/{UNKNOWN}", "GET", 404),
        ("/v1/image-queries/iq_1", "GET", 404),
        ("/v1/image-queries/..%2fimage-queries.sqlite/image", "GET", 404),
        ("/v1/image-queries?page=0", "GET", 400),
        ("/v1/detectors?page_size=1001", "GET", 400),
    ],
)
def test_malformed_and_unknown_ids(served: Endpoint, path: str, method: str, status: int) -> None:
    for prefix in ("", "/device-api"):
        headers = {"content-type": "image/png"} if method == "POST" else {}
        body = ZERO.picture() if method == "POST" else None
        reply = served.ask(method, prefix + path, body, **headers)
        assert reply.status == status
        assert reply.json()["detail"]


def encoded_json(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("parameter", "value", "said"),
    [
        ("confidence_threshold", "2", "from 0 to 1"),
        ("confidence_threshold", "nan", "from 0 to 1"),
        ("patience_time", "-1", "from 0 to 3600"),
        ("human_review", "MAYBE", "one of DEFAULT, ALWAYS, NEVER"),
        ("human_review", "ALWAYS", "no cloud"),
        ("inspection_id", "insp_1", "no cloud"),
        ("want_async", "perhaps", "true or false"),
        ("metadata", "e30=e30=", "URL-safe base64"),
        ("metadata", "W10=", "JSON object"),
        ("metadata", encoded_json('{"a": NaN}'), "no NaN"),
        ("metadata", encoded_json('{"a": 1e999}'), "no NaN"),
        ("metadata", encoded_json(r'{"a": "\ud800"}'), "half of a character"),
        ("image_query_id", "iq_1", "iq_ and 27"),
    ],
)
def test_parameters_that_say_nothing_usable(
    served: Endpoint, parameter: str, value: str, said: str
) -> None:
    reply = served.submit(ZERO, **{parameter: value})
    assert reply.status == 400
    assert said in reply.json()["detail"]
    assert served.ask("GET", "/v1/image-queries").status == 200
    assert served.ask("GET", "/status/metrics.json").status == 200


TWICE = f"""\
detectors:
  - {{detector_id: {ZERO.id}, edge_inference_config: default}}
  - {{detector_id: {ZERO.id}, edge_inference_config: no_cloud}}
"""
CONFIGURATIONS = {
    "a typo": ("global_config: {refesh_rate: 3}", "1:17", "Did you mean 'refresh_rate'?"),
    "a typo above": ("global_confg: {}", "1:1", "Did you mean 'global_config'?"),
    "a preset unknown": (
        f"detectors: [{{detector_id: {ZERO.id}, edge_inference_config: no_clod}}]",
        "1:", "Did you mean 'no_cloud'?",
    ),
    "a detector twice": (TWICE, "3:19", "stands twice"),
    "an id that is none": (
        "detectors: [{detector_id: det_1, edge_inference_config: default}]", "1:27", "27 letters",
    ),
    "no YAML": ("detectors: [", "2:1", "malformed YAML"),
    "a number that is none": ("global_config: {refresh_rate: soon}", "1:31", "must be a number"),
    "a number that no float holds": (
        f"global_config: {{refresh_rate: 1{'0' * 400}}}", "1:31", "must be a number",
    ),
    "escalation without answers": (
        "edge_inference_configs: {x: {disable_cloud_escalation: true}}", "1:", "always_return",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_configuration_is_refused_with_its_place(served: Endpoint, name: str) -> None:
    text, place, said = CONFIGURATIONS[name]
    before = served.json("/edge-config")
    reply = served.ask("PUT", "/edge-config", text.encode())
    assert reply.status == 400
    assert f"the edge configuration:{place}" in reply.json()["detail"]
    assert said in reply.json()["detail"]
    assert served.json("/edge-config") == before


@pytest.mark.parametrize("rate", [1e-05, 5e-324, 0.5, 1])
def test_what_is_kept_is_read_again(rate: float) -> None:
    given = json.dumps({"global_config": {"confident_audit_rate": rate}})
    config = edgeconfig.parse(given, "given")
    assert config.confident_audit_rate == rate
    assert edgeconfig.parse(config.as_yaml(), "kept") == config


def test_a_configuration_at_the_start_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    config = tmp_path / "edge.yaml"
    config.write_text(TWICE)
    done = run(
        "endpoint", "serve", "--models", tmp_path, "--state", tmp_path / "state", "--port", "0",
        "--config", config,
    )  # fmt: skip
    assert done.returncode == 11
    assert f"{config}:3:19: the detector {ZERO.id} stands twice" in done.stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([{"id": ZERO.id, "mode": "binry"}], "Did you mean 'BINARY'?"),
        ([{"id": ZERO.id, "mode": "BINARY"}] * 2, "stands twice"),
        ([{"id": "det_x", "mode": "BINARY"}], "27 letters and digits"),
        ([{"id": ZERO.id}], "needs a mode"),
        ([{"id": ZERO.id, "mode": "BINARY", "nam": "x"}], "Did you mean 'name'?"),
    ],
)
def test_a_file_of_detectors_is_refused_with_its_place(
    tmp_path: Path, entries: list[dict[str, str]], said: str
) -> None:
    path = tmp_path / "detectors.yaml"
    path.write_text(json.dumps({"detectors": entries}))
    with pytest.raises(ConfigError, match=r"detectors\.yaml:1:\d+: ") as raised:
        read_detectors(path, tmp_path)
    assert said in str(raised.value)
