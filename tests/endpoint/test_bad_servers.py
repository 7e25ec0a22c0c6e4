"""Servers that leak, end or hang over a picture, or answer wrongly: told, and started again."""

from __future__ import annotations

import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from hardtack.demo.pictures import png
from hardtack.inference import writing
from hardtack.inference.package import Input, Network, Output
from tests.endpoint.test_escalation import ZERO
from tests.endpoint.test_outages import servers
from tests.endpoint.test_programs import ID, SCRIPT, detectors, publish
from tests.endpoint.test_rollout import FAST, server, serves
from tests.support.endpoints import Endpoint, endpoint, write_detectors, write_models
from tests.support.waiting import until

BAD = str(Path(__file__).with_name("bad_server.py"))


def answered(served: Endpoint, picture: bytes) -> None:
    until(lambda: served.post(ID, picture).status == 200, lambda: server(served, ID))


def test_a_server_that_leaks_is_started_again_and_told(tmp_path: Path) -> None:
    publish(tmp_path / "models", 1, 0.9)
    named = detectors(tmp_path, {"command": [sys.executable, BAD]})
    with endpoint(tmp_path, tmp_path / "models", named, *FAST, "--memory", "150MB") as served:
        answered(served, b"picture")
        assert server(served, ID)["restarts"] == 0
        until(
            lambda: served.post(ID, b"leak") and server(served, ID)["restarts"],
            lambda: server(served, ID),
        )
        assert "of memory, and may take 150000000" in served.log.read_text()
        answered(served, b"picture")


def test_a_picture_that_ends_the_server_twice_is_not_put_to_it_again(tmp_path: Path) -> None:
    publish(tmp_path / "models", 1, 0.9)
    named = detectors(tmp_path, {"command": [sys.executable, BAD]})
    with endpoint(tmp_path, tmp_path / "models", named, *FAST) as served:
        for ended in (1, 2):
            answered(served, b"picture")
            assert served.post(ID, b"end").status == 503
            until(lambda: server(served, ID)["restarts"] == ended, lambda: server(served, ID))  # noqa: B023
        answered(served, b"picture")
        refused = served.post(ID, b"end")
        assert refused.status == 422
        assert "has hung or ended twice over this picture" in refused.json()["detail"]
        assert server(served, ID)["restarts"] == 2
        assert served.post(ID, b"picture").status == 200
        publish(tmp_path / "models", 2, 0.8)  # which may be able to
        serves(served, "2", ID)
        assert served.post(ID, b"end").status == 503


def sent_to(server: psutil.Process) -> int:
    """How many of a stopped server's callers have sent it a picture, longer than a probe."""
    ports = {c.laddr.port for c in server.net_connections() if c.status == psutil.CONN_LISTEN}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ours = [row[4] for row in rows if int(row[1].rpartition(":")[2], 16) in ports]
    return sum(int(waiting.rpartition(":")[2], 16) > len(ZERO.picture()) for waiting in ours)


def test_one_picture_asked_often_is_struck_once_by_one_end(tmp_path: Path) -> None:
    """Its server may have been killed for no fault of the picture's."""
    models = write_models(tmp_path, [ZERO])
    detectors = write_detectors(tmp_path / "detectors.yaml", [ZERO])
    with endpoint(tmp_path, models, detectors) as served:
        (process,) = servers(served).values()
        process.send_signal(signal.SIGSTOP)
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(served.submit, ZERO) for _ in range(3)]
            until(lambda: sent_to(process) == 3, lambda: sent_to(process))
            process.kill()
            assert [one.result().status for one in asked] == [503] * 3
        told = set()
        while (reply := served.submit(ZERO)).status != 200:
            assert reply.status == 503
            told.add(reply.json()["detail"])
        assert not any(detail.endswith("is ready.") for detail in told)


def endless(directory: Path) -> Path:
    """A package whose network goes round for ever on a white picture, and not at all on black."""
    step = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]),
         helper.make_node("Add", ["kept", "kept"], ["next"])],
        "step",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []),
         helper.make_tensor_value_info("go", TensorProto.BOOL, []),
         helper.make_tensor_value_info("kept", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []),
         helper.make_tensor_value_info("next", TensorProto.FLOAT, [1])],
    )  # fmt: skip
    constants = [
        numpy_helper.from_array(np.array(1e15, np.float32), "many"),
        numpy_helper.from_array(np.array(True), "yes"),
        numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
        numpy_helper.from_array(np.array([[3.0, -3.0]], np.float32), "scores"),
    ]
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["bright"], keepdims=0),
        helper.make_node("Mul", ["bright", "many"], ["times"]),
        helper.make_node("Cast", ["times"], ["trips"], to=TensorProto.INT64),
        helper.make_node("Loop", ["trips", "yes", "zero"], ["rest"], body=step),
        helper.make_node("Add", ["scores", "rest"], ["answer"]),
    ]
    graph = helper.make_graph(
        nodes, "endless",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [1, 2])],
        constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    body = model.SerializeToString()
    onnx.checker.check_model(model)
    network = Network(
        "model.onnx", Input("image", width=8, height=8, colour="grey"), Output("softmax", "answer")
    )
    package = directory / "models" / ID / "primary" / "1"
    package.mkdir(parents=True)
    (package / "model.onnx").write_bytes(body)
    text = writing.toml("binary", ("YES", "NO"), {"model.onnx": body}, network)
    (package / "model.toml").write_text(text)
    return directory / "models"


def test_a_picture_that_hangs_the_server_costs_a_restart_and_is_named(tmp_path: Path) -> None:
    black, white = (png(Image.new("L", (8, 8), shade)) for shade in (0, 255))
    models = endless(tmp_path)
    named = tmp_path / "detectors.yaml"
    named.write_text(json.dumps({"detectors": [{"id": ID, "name": "endless"}]}))
    with endpoint(tmp_path, models, named, *FAST, "--answer-time", "1s") as served:
        for ended in (1, 2):
            answered(served, black)
            assert served.post(ID, white).status == 503
            until(lambda: server(served, ID)["restarts"] == ended, lambda: server(served, ID))  # noqa: B023
        answered(served, black)
        assert served.post(ID, white).status == 422
        assert "A picture has had no answer for over 1 s" in served.log.read_text()
        assert server(served, ID)["restarts"] == 2


@pytest.mark.parametrize(
    ("answer", "said"), [("NO", "expected 'NO', it says 'YES'"), ("YES", "confidence of 0.200")]
)
def test_another_programs_server_must_answer_the_golden_picture_as_well(
    tmp_path: Path, answer: str, said: str
) -> None:
    models = tmp_path / "models"
    publish(models, 1, 0.9)
    named = detectors(tmp_path, {"command": [sys.executable, SCRIPT]})
    with endpoint(tmp_path, models, named, *FAST) as served:
        more = "confidence = 0.2\n" if answer == "YES" else ""
        golden_version(models, 2, answer, more)
        until(lambda: server(served, ID)["refused"] == ["2"], lambda: server(served, ID))
        assert said in server(served, ID)["note"]
        assert server(served, ID)["version"] == "1"
        golden_version(models, 3, "YES", "confidence = 0.9\n")
        serves(served, "3", ID)


def golden_version(models: Path, version: int, answer: str, more: str) -> None:
    """A version whose program answers YES, 0.9, and whose golden picture expects `answer`."""
    made = models / ".made"
    publish(made, version, 0.9)
    package = made / ID / "primary" / str(version)
    (package / "golden.png").write_bytes(b"any picture")
    text = writing.golden("binary", package / "golden.png", answer) + more
    with (package / "model.toml").open("a") as toml:
        toml.write(text)
    package.rename(models / ID / "primary" / str(version))


def test_a_runtime_without_the_flavours_provider_is_told(tmp_path: Path) -> None:
    """ONNX Runtime for CPU alone is installed here."""
    models = write_models(tmp_path, [ZERO])
    detectors = write_detectors(tmp_path / "detectors.yaml", [ZERO])
    with endpoint(tmp_path, models, detectors, "--flavor", "gpu", ready=False) as served:
        until(
            lambda: (
                "The provider 'cuda' is not in the installed" in server(served, ZERO.id)["note"]
            ),
            lambda: server(served, ZERO.id),
        )
