"""SARIF's own JSON schema, out of the npm package that carries it."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

_PACKAGE = "@microsoft/sarif-multitool-linux@5.7.0"
_MEMBER = "package/sarif-2.1.0.json"
_KEPT = Path(sys.prefix) / "schemas" / "sarif-2.1.0.json"


def schema() -> Any:
    """The schema of SARIF 2.1.0; fetched once, kept beside the virtual environment's own files."""
    if not _KEPT.exists():
        with tempfile.TemporaryDirectory() as directory:
            subprocess.run(
                ["npm", "pack", "--silent", _PACKAGE], cwd=directory, check=True, timeout=100,
                capture_output=True,
            )  # fmt: skip
            (archive,) = Path(directory).glob("*.tgz")
            with tarfile.open(archive) as package:
                member = package.extractfile(_MEMBER)
                assert member is not None
                text = member.read()
        _KEPT.parent.mkdir(exist_ok=True)
        _KEPT.write_bytes(text)
    return json.loads(_KEPT.read_text())
