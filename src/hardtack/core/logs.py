"""How log lines look: text for people, one JSON object a line for machines. Both on stderr."""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import TextIO

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "logger", "message", …extra}`; time in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        import json  # late: most logs are for people

        line = {
            "time": _utc(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {k: v for k, v in vars(record).items() if k not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def printable(text: str, *, keep: str = "") -> str:
    """`text` with its control characters, but those to `keep`, written as escapes.

    Names come from the source: none shall forge a line or move a terminal's cursor.
    """
    return _CONTROL.sub(
        lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode(),
        text,
    )


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00Z level message`."""

    def format(self, record: logging.LogRecord) -> str:
        said = printable(record.getMessage())
        text = f"{_utc(record)} {record.levelname.lower():7} {said}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def _utc(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Log at `level` (debug, info, warning, error) as `form` (text, json) to `stream` or stderr."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("hardtack").setLevel(level.upper())
