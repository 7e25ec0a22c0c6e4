"""The package index that pip is told of on this machine, told to uv. Standard library only."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

SAME = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "retries": "UV_HTTP_RETRIES",
    "no-cache-dir": "UV_NO_CACHE",
}
"""What pip calls a setting → uv's variable for it."""

PIPS_OWN = {
    "cache-dir", "config-file", "disable-pip-version-check", "no-color", "no-compile", "no-input",
    "no-python-version-warning", "progress-bar", "quiet", "root-user-action", "verbose",
}  # fmt: skip
"""What changes neither what is installed nor who is asked."""


def for_uv(python: str | Path = sys.executable) -> dict[str, str] | None:
    """The environment in which uv asks whom pip asks; None where pip has a setting that uv lacks.

    What uv is told by variables of its own goes before.
    """
    environment = dict(os.environ)
    for name, value in _settings(python).items():
        if name in PIPS_OWN or not value:
            continue
        if name not in SAME:
            return None
        separator = "," if name == "find-links" else " "
        environment.setdefault(SAME[name], separator.join(value.split()))
    for bundle in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # pip's, where it isn't told of a cert
        if bundle in environment:
            environment.setdefault("SSL_CERT_FILE", environment[bundle])
    # Of more than one index each is asked, as by pip: the hash says which has the right file.
    environment.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return environment


def _settings(python: str | Path) -> dict[str, str]:
    """What `pip install` is told by its files and by the environment."""
    listed = subprocess.run(
        [str(python), "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    found = re.findall(r"^(global|install|:env:)\.([a-z-]+)=(.*)$", listed, re.MULTILINE)
    first_to_last = ("global", "install", ":env:")
    found.sort(key=lambda setting: first_to_last.index(setting[0]))
    return {name: str(ast.literal_eval(value)) for _, name, value in found}
