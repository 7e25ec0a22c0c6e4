"""The edge configuration in force: what was said last, by the file or while the endpoint runs."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from hardtack.core.errors import ConfigError
from hardtack.core.files import write_atomically
from hardtack.endpoint.edgeconfig import parse, read_config

_log = logging.getLogger(__name__)


class InForce:
    """`now` is the configuration in force. Thread-safe.

    One that is put while the endpoint runs is kept, and goes before the file at the next start; an
    edit of the file while it runs is put in force as well, and the kept one is dropped.
    """

    def __init__(self, given: Path | None, kept: Path) -> None:
        """`given` is the file to begin with, if any. Raises ConfigError."""
        self._given, self._kept = given, kept
        self._lock = threading.Lock()
        self._text = self._given_text()
        self._edited: str | None = None
        self.now = read_config(given, kept)
        if given is not None and kept.is_file() and self._differs():
            _log.warning(
                "The edge configuration in force is %s, set while the endpoint ran; %s says "
                "something else. Delete the first, or edit the second, to have the second.",
                kept, given,
            )  # fmt: skip

    def put(self, text: str) -> None:
        """Put `text` in force and keep it. Raises ConfigError, OSError."""
        config = parse(text, "the edge configuration")
        with self._lock:
            write_atomically(self._kept, config.as_yaml().encode())
            self.now = config
            self._text = self._given_text() or self._text  # an edit from before is older

    def look(self) -> bool:
        """Put the file in force where it was edited; whether it was. One that says something
        unusable is told, with the place, and changes nothing."""
        with self._lock:
            text = self._edit()
            if text is None:
                return False
            try:
                config = parse(text, str(self._given))
            except ConfigError as error:
                self._text = text
                _log.error("%s The edge configuration in force stays.", error)
                return False
            self._kept.unlink(missing_ok=True)
            self._text, self.now = text, config
        _log.info("The edge configuration in %s was edited, and is in force.", self._given)
        return True

    def _edit(self) -> str | None:
        """What the file says that it didn't, once it says so at two looks running: it may be half
        written. An empty file is one that is being written."""
        text = self._given_text()
        if text is None or not text.strip() or text == self._text:
            return None
        if self._text is None:  # it came after the start, and goes behind what was kept
            self._text = text
            return None
        before, self._edited = self._edited, text
        return text if text == before else None

    def _given_text(self) -> str | None:
        """What the file says; nothing where it is away or half written."""
        try:
            return self._given.read_text(encoding="utf-8") if self._given else None
        except (OSError, UnicodeDecodeError):
            return None

    def _differs(self) -> bool:
        try:
            return parse(self._text or "", str(self._given)) != self.now
        except ConfigError:
            return True
