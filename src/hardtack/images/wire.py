"""Protocol Buffers' wire format, as much of it as containerd's services need.

A message is written as a list of (field number, value) and read as field number → values. This
replaces some 3000 generated lines; the field numbers stand in containerd.py beside their use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hardtack.core.errors import ContainerdError

Value = int | str | bytes


def encode(fields: Iterable[tuple[int, Value]]) -> bytes:
    """The bytes of a message; zero and empty values are left out, as in proto3."""
    out = bytearray()
    for number, value in fields:
        if isinstance(value, int):
            if value:
                out += _varint(number << 3) + _varint(value & (1 << 64) - 1)
            continue
        data = value.encode() if isinstance(value, str) else value
        if data:
            out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return bytes(out)


def encode_map(number: int, entries: Mapping[str, str]) -> list[tuple[int, Value]]:
    """A `map<string, string>` field."""
    return [
        (number, encode([(1, key), (2, value)]) or b"\x0a\x00")
        for key, value in sorted(entries.items())
    ]


@dataclass(slots=True)
class Message:
    """A decoded message. Absent fields read as proto3's zero."""

    fields: dict[int, list[int | bytes]] = field(default_factory=dict)

    def text(self, number: int) -> str:
        return self.data(number).decode(errors="replace")

    def data(self, number: int) -> bytes:
        value = self.fields.get(number, [b""])[-1]
        return value if isinstance(value, bytes) else b""

    def number(self, number: int) -> int:
        value = self.fields.get(number, [0])[-1]
        return value if isinstance(value, int) else 0

    def message(self, number: int) -> Message:
        return decode(self.data(number))

    def messages(self, number: int) -> list[Message]:
        return [decode(v) for v in self.fields.get(number, []) if isinstance(v, bytes)]

    def map(self, number: int) -> dict[str, str]:
        return {entry.text(1): entry.text(2) for entry in self.messages(number)}


def decode(data: bytes) -> Message:
    """Raises ContainerdError for bytes that aren't a message."""
    found: dict[int, list[int | bytes]] = {}
    position = 0
    while position < len(data):
        key, position = _read_varint(data, position)
        kind = key & 7
        value: int | bytes
        if kind == 0:
            value, position = _read_varint(data, position)
        else:
            size = {1: 8, 5: 4}.get(kind)
            if kind == 2:
                size, position = _read_varint(data, position)
            if size is None or position + size > len(data):
                raise ContainerdError("containerd's answer is not a Protocol Buffers message.")
            value = data[position : position + size]
            position += size
        found.setdefault(key >> 3, []).append(value)
    return Message(found)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
    raise ContainerdError("containerd's answer is not a Protocol Buffers message.")
