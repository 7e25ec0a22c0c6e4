"""Ids as the Groundlight SDK knows them: a prefix and a KSUID."""

from __future__ import annotations

import os
import re
import time

_EPOCH = 1_400_000_000
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LENGTH = 27

DETECTOR = re.compile(r"det_[A-Za-z0-9]{27}")
IMAGE_QUERY = re.compile(r"iq_[A-Za-z0-9]{27}")


def ksuid() -> str:
    """27 letters and digits that sort by time: 4 bytes of seconds, 16 random ones."""
    raw = max(0, int(time.time()) - _EPOCH).to_bytes(4, "big") + os.urandom(16)
    number, text = int.from_bytes(raw, "big"), ""
    for _ in range(_LENGTH):
        number, digit = divmod(number, 62)
        text = _DIGITS[digit] + text
    return text


def new_image_query() -> str:
    return "iq_" + ksuid()
