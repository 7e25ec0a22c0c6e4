"""A detector's server, run as people run it: a process, spoken to over loopback."""

from __future__ import annotations

import http.client
import io
import json
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from hardtack.inference.preprocess import prepare
from tests.inference.conftest import MODELS, Place
from tests.inference.test_images import huge_png
from tests.support.commands import HARDTACK, clean_environment, run
from tests.support.waiting import until

SEVEN = (MODELS / "digit-7.png").read_bytes()
JPEG = {"content-type": "image/jpeg"}


class Reply(NamedTuple):
    status: int
    body: bytes
    headers: http.client.HTTPMessage

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server(NamedTuple):
    port: int
    process: subprocess.Popen[str]

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Reply(response.status, response.read(), response.headers)
        finally:
            connection.close()


@contextmanager
def serving(directory: Path, *options: str) -> Iterator[Server]:
    """The server of `directory` on a free port; returns once it is loaded, has failed to, or
    waits for files."""
    process = subprocess.Popen(
        [*HARDTACK, "inference", "serve", "--model", str(directory), "--port", "0", *options],
        env=clean_environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        lines: list[str] = []
        for line in process.stderr:
            lines.append(line)
            if re.search("is ready|can't be served|waits for its model", line):
                break
        found = re.search(r"http://127\.0\.0\.1:(\d+)", "".join(lines))
        assert found, lines
        yield Server(int(found[1]), process)
    finally:
        process.terminate()
        _, _ = process.communicate(timeout=20)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    import shutil

    directory = tmp_path_factory.mktemp("models") / "det_digits"
    shutil.copytree(MODELS / "digit", directory / "primary" / "3")
    with serving(directory, "--max-body", "100kB", "--max-pixels", "1000000") as server:
        yield server


def test_it_is_alive_and_ready(digits: Server) -> None:
    assert digits.ask("GET", "/health/live").json == {"live": True}
    ready = digits.ask("GET", "/health/ready")
    assert ready.status == 200
    assert ready.json == {
        "ready": True,
        "model": "det_digits",
        "version": "3",
        "providers": ["CPUExecutionProvider"],
    }


def test_a_picture_is_answered_in_edge_endpoints_words(digits: Server) -> None:
    reply = digits.ask("POST", "/infer", SEVEN, JPEG)
    assert reply.status == 200
    answer = reply.json
    assert answer["predictions"] is None and answer["secondary_predictions"] is None
    (probabilities,) = answer["multi_predictions"]["probabilities"]
    assert probabilities.index(max(probabilities)) == 7
    assert answer["result"]["label"] == "7"
    assert answer["result"]["confidence"] == pytest.approx(max(probabilities))


@pytest.mark.parametrize("headers", [{}, {"content-type": "application/octet-stream"}])
def test_other_honest_types_are_taken(digits: Server, headers: dict[str, str]) -> None:
    assert digits.ask("POST", "/infer", SEVEN, headers).status == 200


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (b"no picture", JPEG, 400, "not a picture"),
        (b"", JPEG, 400, "not a picture"),
        (SEVEN[:100], JPEG, 400, "damaged"),
        (huge_png(10_000), JPEG, 400, "at most 1000000"),
        (SEVEN, {"content-type": "text/plain"}, 415, "text/plain"),
        (bytes(100_001), JPEG, 413, "limit of 100000 bytes"),
    ],
)
def test_bad_input_is_the_callers_fault(
    digits: Server, body: bytes, headers: dict[str, str], status: int, message: str
) -> None:
    reply = digits.ask("POST", "/infer", body, headers)
    assert reply.status == status
    assert message in reply.json["error"]


def test_a_body_without_a_length_is_limited_too(digits: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", digits.port, timeout=20)
    pieces = (bytes(30_000) for _ in range(4))
    connection.request("POST", "/infer", pieces, JPEG, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_unknown_paths_and_methods(digits: Server) -> None:
    assert digits.ask("GET", "/nothing").status == 404
    assert digits.ask("GET", "/infer").status == 405
    assert digits.ask("GET", "/v2/models/other").status == 404
    assert digits.ask("GET", "/v2/models/det_digits/versions/4").status == 404


def test_the_open_inference_protocol_describes_the_model(digits: Server) -> None:
    assert digits.ask("GET", "/v2").json["name"] == "hardtack"
    assert digits.ask("GET", "/v2/health/live").status == 200
    assert digits.ask("GET", "/v2/health/ready").status == 200
    about = digits.ask("GET", "/v2/models/det_digits").json
    assert about["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8]}]
    assert about["versions"] == ["3"]
    assert digits.ask("GET", "/v2/models/det_digits/versions/3/ready").json["ready"] is True


def test_the_open_inference_protocol_runs_tensors(digits: Server) -> None:
    from hardtack.inference.images import decode
    from hardtack.inference.ondisk import read

    network = read(MODELS / "digit").network
    assert network is not None
    tensor, _ = prepare(decode(SEVEN), network.input)
    entry = {"name": "image", "shape": [1, 1, 8, 8], "datatype": "FP32"}
    request = {"id": "r1", "inputs": [entry | {"data": tensor.reshape(-1).tolist()}]}
    reply = digits.ask("POST", "/v2/models/det_digits/infer", json.dumps(request).encode())
    assert reply.status == 200
    (output,) = reply.json["outputs"]
    assert (output["name"], output["shape"], output["datatype"]) == ("scores", [1, 10], "FP32")
    assert output["data"].index(max(output["data"])) == 7
    assert reply.json["id"] == "r1"


@pytest.mark.parametrize(
    ("request_body", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_0, "not JSON"),
        ("[]", "no list of inputs"),
        ('{"inputs": []}', "expected ['image']"),
        ('{"inputs": [{"name": "image"}]}', "datatype None"),
        ('{"inputs": [{"name": "image", "datatype": "FP32", "shape": [2], "data": [1]}]}', "1 val"),
        ('{"inputs": [{"name": "image", "datatype": "FP32", "shape": [1], "data": [1]}]}', "run"),
        ('{"inputs": [{"name": "image", "datatype": "FP32", "shape": [1], "data": "x"}]}', "list"),
        ('{"inputs": [{"name": "image", "datatype": "FP32", "shape": [-1], "data": []}]}', "shape"),
    ],
)  # fmt: skip
def test_bad_tensors_are_the_callers_fault(digits: Server, request_body: str, message: str) -> None:
    reply = digits.ask("POST", "/v2/models/det_digits/infer", request_body.encode())
    assert reply.status == 400
    assert message in reply.json["error"]


def test_numbers_that_json_has_none_for_are_told(digits: Server, tmp_path: Path) -> None:
    entry = {"name": "image", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [1e38] * 64}
    request = json.dumps({"inputs": [entry]}).encode()
    reply = digits.ask("POST", "/v2/models/det_digits/infer", request)
    assert (reply.status, "NaN or infinity" in reply.json["error"]) == (400, True)
    package = Path(shutil.copytree(MODELS / "digit", tmp_path / "1"))
    text = (package / "model.toml").read_text()
    (package / "model.toml").write_text(
        text.replace("[network.input]", "[network.input]\nmean = [1e39]")
    )
    with serving(package) as broken:
        reply = broken.ask("POST", "/infer", SEVEN, JPEG)
    assert (reply.status, "NaN or infinity" in reply.json["error"]) == (500, True)


def test_a_caller_that_leaves_harms_nobody(digits: Server) -> None:
    with socket.create_connection(("127.0.0.1", digits.port)) as connection:
        connection.sendall(b"POST /infer HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nabc")
    assert digits.ask("POST", "/infer", SEVEN, JPEG).status == 200


def test_half_sent_pictures_dont_pile_up(digits: Server) -> None:
    head = b"POST /infer HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nabc"
    with ExitStack() as stack:
        for _ in range(32):
            connection = socket.create_connection(("127.0.0.1", digits.port))
            stack.enter_context(connection).sendall(head)
        for _ in range(100):
            refused = digits.ask("POST", "/infer", SEVEN, JPEG)
            if refused.status == 429:
                break
        assert refused.status == 429
        assert refused.headers["retry-after"] == "1"
        assert digits.ask("GET", "/health/live").status == 200
    for _ in range(100):
        if (answered := digits.ask("POST", "/infer", SEVEN, JPEG)).status == 200:
            break
    assert answered.status == 200


def test_many_at_once_are_all_answered_alike(digits: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: digits.ask("POST", "/infer", SEVEN, JPEG), range(40)))
    assert {reply.body for reply in replies} == {replies[0].body}
    assert replies[0].status == 200


def test_one_picture_uses_the_memory_of_the_one_before(digits: Server) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((800, 600), 20).convert("RGB").save(buffer, "JPEG", quality=50)

    def faults() -> int:
        fields = Path(f"/proc/{digits.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[7])

    for _ in range(20):  # each of its threads has had one
        assert digits.ask("POST", "/infer", buffer.getvalue(), JPEG).status == 200
    before = faults()
    for _ in range(20):
        assert digits.ask("POST", "/infer", buffer.getvalue(), JPEG).status == 200
    assert faults() - before < 20 * 100  # pages of 4 KiB; the picture alone has 350


def test_metrics_count_pictures(digits: Server) -> None:
    digits.ask("POST", "/infer", SEVEN, JPEG)
    digits.ask("POST", "/infer", b"no picture", JPEG)
    text = digits.ask("GET", "/metrics").body.decode()
    assert "hardtack_inference_ready 1.0" in text
    for status in ("200", "400"):
        found = re.search(rf'requests_total{{status="{status}"}} (\d+)', text)
        assert found and int(found[1]) >= 1


def test_a_model_that_doesnt_load_is_neither_live_nor_ready(place: Place) -> None:
    directory = place("digit")
    toml = directory / "model.toml"
    toml.write_text(toml.read_text().replace('name = "image"', 'name = "pixels"'))
    with serving(directory) as server:
        assert server.ask("GET", "/health/live").status == 503
        ready = server.ask("GET", "/health/ready")
        assert ready.status == 503
        assert "no input 'pixels'" in ready.json["error"]
        assert server.ask("POST", "/infer", SEVEN, JPEG).status == 503


def test_a_version_with_a_wrong_hash_leaves_the_one_before_it(place: Place) -> None:
    place("digit", version="1")
    damaged = place("digit", version="2") / "model.onnx"
    body = bytearray(damaged.read_bytes())
    body[-1000] ^= 1
    damaged.write_bytes(body)
    with serving(damaged.parent.parent, "--name", "digits") as server:
        assert server.ask("GET", "/health/ready").json["version"] == "1"
        about = server.ask("GET", "/v2/models/digits").json
        assert (about["name"], about["versions"]) == ("digits", ["1"])


def becomes_ready(server: Server) -> None:
    until(lambda: server.ask("GET", "/health/ready").status == 200, lambda: "never ready")
    assert server.ask("POST", "/infer", SEVEN, JPEG).status == 200


@pytest.mark.parametrize("fail_fast", [(), ("--fail-fast",)])
def test_a_directory_that_isnt_there_yet_is_waited_for(
    tmp_path: Path, place: Place, fail_fast: tuple[str, ...]
) -> None:
    away = place("digit").parents[1].rename(tmp_path / "away")
    detector = tmp_path / "mount" / "models" / "det_x"
    with serving(detector / "primary" / "1", *fail_fast) as server:
        assert server.ask("GET", "/health/live").json == {"live": True}
        ready = server.ask("GET", "/health/ready")
        assert ready.status == 503 and ready.headers["retry-after"]
        assert ready.json["ready"] is False
        assert "can't be listed: No such file or directory" in ready.json["reason"]
        refused = server.ask("POST", "/infer", SEVEN, JPEG)
        assert refused.status == 503 and "isn't here yet" in refused.json["error"]
        detector.parent.mkdir(parents=True)
        away.rename(detector)
        becomes_ready(server)
        assert server.ask("GET", "/health/ready").json["model"] == "det_x"


def test_weights_that_are_missing_or_short_are_waited_for(place: Place) -> None:
    weights = place("digit") / "model.onnx"
    body = weights.read_bytes()
    weights.unlink()
    with serving(weights.parent, "--fail-fast") as server:
        assert "model.onnx: No such file" in server.ask("GET", "/health/ready").json["reason"]
        weights.write_bytes(body[:-1])
        until(
            lambda: "model.toml says" in server.ask("GET", "/health/ready").json["reason"],
            lambda: server.ask("GET", "/health/ready").body,
        )
        weights.write_bytes(body)
        becomes_ready(server)


def test_a_server_that_waits_ends_when_it_is_told_to(tmp_path: Path) -> None:
    with serving(tmp_path / "nowhere") as server:
        server.process.terminate()
        assert server.process.wait(timeout=20) == 128 + signal.SIGTERM


def test_a_port_that_is_taken_is_named(digits: Server, place: Place) -> None:
    done = run("inference", "serve", "--model", place("digit"), "--port", str(digits.port))
    assert done.returncode == 11
    assert f"Can't listen on 127.0.0.1:{digits.port}" in done.stderr
