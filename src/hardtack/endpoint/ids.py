"""Ids as the Groundlight SDK knows them: a prefix and a KSUID."""

from __future__ import annotations

import os
import re
import time

_EPOCH = 1_400_000_000
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = [high + low for high in _DIGITS for low in _DIGITS]
_LENGTH = 27

DETECTOR = re.compile(r"det_[A-Za-z0-9]{27}")
IMAGE_QUERY = re.compile(r"iq_[A-Za-z0-9]{27}")


def ksuid() -> str:
    """27 letters and digits that sort by time: 4 bytes of seconds, 16 random ones."""
    raw = max(0, int(time.time()) - _EPOCH).to_bytes(4, "big") + os.urandom(16)
    number, pairs = int.from_bytes(raw, "big"), []
    for _ in range(0, _LENGTH, 2):
        number, pair = divmod(number, len(_PAIRS))
        pairs.append(_PAIRS[pair])
    return "".join(reversed(pairs))[-_LENGTH:]  # of which the first is always 0


def new_image_query() -> str:
    return "iq_" + ksuid()
