"""Nothing of ours reports to anybody."""

from __future__ import annotations

from pathlib import Path

from hardtack.demo.detectors import SAMPLES
from tests.support.commands import run


def test_onnx_runtime_leaves_no_session_to_report(tmp_path: Path) -> None:
    """Its telemetry begins by writing down who it is, in the directory for temporary files."""
    shape = next(sample for sample in SAMPLES if sample.name == "shape")
    for name, body in shape.package({}).items():
        (tmp_path / "model" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "model" / name).write_bytes(body)
    (tmp_path / "picture.png").write_bytes(shape.picture())
    (tmp_path / "tmp").mkdir()
    done = run(
        "model", "run", tmp_path / "model", tmp_path / "picture.png",
        env={"TMPDIR": str(tmp_path / "tmp")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "tmp").iterdir()) == []
