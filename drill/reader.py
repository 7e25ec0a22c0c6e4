"""A pod that reads from the mount without end, by an open file and by opening it anew.

This file is also what runs in it: it writes what it saw, once for each round, to the file named.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def main(weights: str, report: str) -> None:
    """Read `weights`; in `report` stand counts and the longest wait, in seconds."""
    file = os.open(weights, os.O_RDONLY)
    size = os.fstat(file).st_size
    wanted = hashlib.sha256(_read(file, size)).hexdigest()
    seen = {"held": 0, "opened": 0, "held_failed": 0, "opened_failed": 0, "wrong": 0,
            "waited": 0.0, "absent": 0.0}  # fmt: skip
    last_good = time.monotonic()
    while True:
        began = time.monotonic()
        for kind in ("held", "opened"):
            try:
                handle = file if kind == "held" else os.open(weights, os.O_RDONLY)
                try:
                    right = hashlib.sha256(_read(handle, size)).hexdigest() == wanted
                finally:
                    if handle != file:
                        os.close(handle)
            except OSError:
                seen[f"{kind}_failed"] += 1
            else:
                seen[kind] += 1
                seen["wrong"] += not right
                if kind == "opened":
                    seen["absent"] = max(seen["absent"], time.monotonic() - last_good)
                    last_good = time.monotonic()
        seen["waited"] = max(seen["waited"], time.monotonic() - began)
        if (anew := Path(f"{report}.anew")).exists():
            seen = dict.fromkeys(seen, 0) | {"waited": 0.0, "absent": 0.0}
            _write(report, seen)  # first: who asked reads it when that is gone
            anew.unlink()
        _write(report, seen)
        time.sleep(0.02)


def _write(report: str, seen: dict[str, Any]) -> None:
    whole = Path(f"{report}.part")
    whole.write_text(json.dumps(seen))
    whole.replace(report)


def _read(file: int, size: int) -> bytes:
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    body = b""
    while len(body) < size:
        piece = os.pread(file, 1 << 20, len(body))
        if not piece:
            raise OSError("the file ends early")
        body += piece
    return body


def spec(image: str, weights: str, parent: str) -> dict[str, Any]:
    """The pod: our image, its program this file, the mount's parent as other pods have it."""
    return {
        "containers": [{
            "name": "reader", "image": image, "command": ["/opt/hardtack/bin/python", "-c"],
            "args": [Path(__file__).read_text(), weights, "/report/seen"],
            "volumeMounts": [
                {"name": "weights", "mountPath": parent, "mountPropagation": "HostToContainer",
                 "readOnly": True},
                {"name": "report", "mountPath": "/report"},
            ],
        }],
        "terminationGracePeriodSeconds": 1,
        "volumes": [
            {"name": "weights", "hostPath": {"path": parent}},
            {"name": "report", "emptyDir": {}},
        ],
    }  # fmt: skip


class Reader:
    """What the running pod reports, in `report` as it is seen from here."""

    def __init__(self, report: Path) -> None:
        self._report = report

    def anew(self) -> None:
        """Count from here on."""
        asked = self._report.with_name("seen.anew")
        asked.touch()
        self._until(lambda: not asked.exists())
        self.rounds(2)

    def seen(self) -> dict[str, Any]:
        self._until(self._report.exists)
        found: dict[str, Any] = json.loads(self._report.read_text())
        return found

    def rounds(self, count: int) -> dict[str, Any]:
        """What it saw, after `count` more rounds that ended well."""
        before = self.seen()["opened"]
        found: dict[str, Any] = {}

        def enough() -> bool:
            nonlocal found
            found = self.seen()
            return bool(found["opened"] >= before + count)

        self._until(enough)
        return found

    def _until(self, true: Any) -> None:
        deadline = time.monotonic() + 600
        while not true():
            if time.monotonic() > deadline:
                raise TimeoutError(f"The reader reports nothing new: {self._report}.")
            time.sleep(0.02)


if __name__ == "__main__":
    main(*sys.argv[1:])
