"""A wheel builds from a checkout, and what is in it runs elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_wheel_builds_and_runs(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path),
        str(ROOT),
    ]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "bench/", "tools/"))]
    assert "hardtack/deploy/chart/Chart.yaml" in names
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    env = os.environ | {"PYTHONPATH": str(installed)}
    program = (
        "import hardtack, sys; from hardtack.__main__ import main; print(hardtack.__file__); "
        "sys.argv[1:] = ['version']; main()"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", program], env=env, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith(str(installed))
    assert "hardtack 0." in ran.stdout
