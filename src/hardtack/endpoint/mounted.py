"""What the mount says of itself, through itself: from any container too."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

_PROBE = ".hardtack"


class Mount:
    """The mount that a directory lies on. Thread-safe.

    A read from a mount that hangs can't be ended: it is left to a thread, one at a time.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._said: dict[str, Any] | None = None
        self._asked_at = 0.0

    def status(self, patience: float = 1.0) -> dict[str, Any] | None:
        """`answers`, and when it does what `hardtack status` says; None where it is no such mount.

        Waits `patience` seconds for it at most.
        """
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._asked_at = time.time()
                self._thread = threading.Thread(target=self._ask, daemon=True, name="mount")
                self._thread.start()
            thread = self._thread
        thread.join(patience)
        if thread.is_alive():
            return {"answers": False, "silent_since": self._asked_at}
        return self._said

    def _ask(self) -> None:
        root = os.path.realpath(self._directory)
        while not os.path.ismount(root):
            root = os.path.dirname(root)
        try:
            document = json.loads(Path(root, _PROBE).read_bytes())
        except (OSError, ValueError):
            self._said = None
        else:
            self._said = {"answers": True, "mountpoint": root, **document.get("status", {})}
