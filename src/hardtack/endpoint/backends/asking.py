"""Asking a server on this machine how it is."""

from __future__ import annotations

import json

import urllib3


def ask(port: int, path: str, patience: float = 5.0) -> tuple[int, str]:
    """Status of a GET, and the reason that its JSON gives; 0 where nobody answers. Blocks."""
    try:
        url = f"http://127.0.0.1:{port}{path}"
        reply = urllib3.request("GET", url, timeout=patience, retries=False)
    except urllib3.exceptions.HTTPError:
        return 0, ""
    try:
        told = json.loads(reply.data)
        return reply.status, str(told.get("reason", "")) if isinstance(told, dict) else ""
    except ValueError:
        return reply.status, ""
