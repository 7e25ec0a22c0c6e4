"""JSON as its standard has it, where Python's reads and writes more: NaN, infinities, halves of
characters. One of them kept would be in the way of each list that it stands in."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from starlette.responses import JSONResponse


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


# Made once: `json.loads` and `json.dumps` make one for each call with settings.
_read = json.JSONDecoder(parse_constant=_refuse).decode
_read_kept = json.JSONDecoder(parse_constant=lambda _: None).decode
_write = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
_write_whole = json.JSONEncoder(allow_nan=False, ensure_ascii=False).encode


class Json(JSONResponse):
    """In ASCII: text in which another program left half a character is written all the same."""

    def render(self, content: Any) -> bytes:
        return _write(content).encode("ascii")


def parse(data: bytes) -> Any:
    """What JSON says. Raises ValueError for what isn't, or is nested too deeply."""
    try:
        return _read(data.decode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def loads(data: bytes) -> Any:
    """The same, ValueError too for a number that no float holds and for half a character."""
    value = parse(data)
    _write_whole(value).encode()
    return value


def dumps(value: Any) -> str:
    """Raises ValueError for a number that JSON has none for."""
    return _write(value)


def kept(text: str) -> Any:
    """What an earlier version kept, null where it wrote a number that JSON has none for."""
    return _read_kept(text)
