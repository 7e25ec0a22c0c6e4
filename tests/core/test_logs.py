"""Log lines: one record is one line, whatever name it holds."""

from __future__ import annotations

import json
import logging

import pytest

from hardtack.core.logs import JsonFormatter, TextFormatter

KEY = "a\n2026-01-01T00:00:00Z info    forged\x1b[2J\x85é"


def _record() -> logging.LogRecord:
    return logging.LogRecord("hardtack.x", logging.INFO, __file__, 1, "read %s", (KEY,), None)


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_a_key_forges_no_line(formatter: logging.Formatter) -> None:
    line = formatter.format(_record())
    assert "\n" not in line
    assert "\x1b" not in line


def test_text_keeps_what_can_be_printed_and_json_all() -> None:
    assert TextFormatter().format(_record()).endswith(r"forged\x1b[2J\x85é")
    assert json.loads(JsonFormatter().format(_record()))["message"] == f"read {KEY}"
