"""/etc/crypttab: what is unlocked at boot, and by what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hardtack.deploy.facts import texts
from hardtack.deploy.facts.links import gone, resolved
from hardtack.deploy.facts.model import Volume

_NO_FILE = ("none", "-")
_BY_ITSELF = ("tpm2-device=", "fido2-device=", "pkcs11-uri=", "keyscript=")
"""Options by which no one is asked, or by which that can't be told."""
_PLAIN = ("swap", "tmp", "tmp=")
_CLEVIS = "usr/bin/clevis"
"""It unlocks what its own notes on the disk say."""


def read(root: Path) -> tuple[Volume, ...]:
    """The volumes of the file below `root` that are unlocked at boot."""
    lines = texts.of(root / "etc/crypttab").splitlines()
    fields = (line.split() for line in lines if not line.lstrip().startswith("#"))
    return tuple(_volumes(root, [each for each in fields if len(each) > 1]))


def _volumes(root: Path, lines: list[list[str]]) -> Iterator[Volume]:
    for name, _, *rest in lines:
        key, options, *_ = [*rest, "", ""]
        given = frozenset(options.split(","))
        if "noauto" not in given:
            yield Volume(name, given, _asked(root, name, key, given))


def _asked(root: Path, name: str, key: str, options: frozenset[str]) -> str:
    """Why somebody is asked for a passphrase; empty where nobody is, or that can't be told."""
    itself = any(option.startswith((*_BY_ITSELF, *_PLAIN)) for option in options)
    if itself or resolved(root, _CLEVIS) is not None:
        return ""
    if key in ("", *_NO_FILE):
        usual = (f"{place}/cryptsetup-keys.d/{name}.key" for place in ("etc", "run"))
        return "" if any(resolved(root, file) for file in usual) else "it has no key file"
    return f"its key {key} isn't there" if ":" not in key and gone(root, key) else ""
