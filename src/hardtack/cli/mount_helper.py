"""`mount.hardtack`: what mount(8) calls for a line of /etc/fstab of type `hardtack`.

`mount.hardtack SOURCE MOUNTPOINT [-sfnv] [-N namespace] [-o OPTION,…] [-t TYPE]`, see mount(8),
"External helpers". An option of the line is one of `hardtack mount`, with `_` or `-`.
"""

from __future__ import annotations

import sys

IGNORED = frozenset(
    [
        "auto",
        "noauto",
        "defaults",
        "nofail",
        "ro",
        "rw",
        "nosuid",
        "nodev",
        "exec",
        "noexec",
        "user",
        "users",
        "owner",
        "group",
        "relatime",
        "noatime",
        "atime",
        "dev",
        "suid",
        "sync",
        "async",
        "_netdev",
    ]
)
"""Options that are mount(8)'s own, or that every hardtack mount has."""


def arguments(helper: list[str]) -> list[str]:
    """What `hardtack` is called with, for what mount(8) calls the helper with.

    Raises ValueError when the call isn't one of mount(8)'s.
    """
    plain: list[str] = []
    options: list[str] = []
    rest = iter(helper)
    for word in rest:
        if word == "-o":
            options += next(rest, "").split(",")
        elif word in ("-t", "-N"):
            next(rest, "")
        elif not word.startswith("-"):
            plain.append(word)
    if len(plain) != 2:
        raise ValueError(f"expected SOURCE and MOUNTPOINT, found {plain}")
    return ["mount", *flags(options), *plain]


def flags(options: list[str]) -> list[str]:
    """`cache_size=40GiB` → `--cache-size=40GiB`; `allow_other` → `--allow-other`."""
    return [
        f"--{name.replace('_', '-')}{equals}{value}"
        for name, equals, value in (option.partition("=") for option in options)
        if name and name not in IGNORED and not name.startswith("x-")
    ]


def main() -> None:
    """Mount, as mount(8) asks."""
    from hardtack.cli.main import main as hardtack

    try:
        words = arguments(sys.argv[1:])
    except ValueError as error:
        print(f"mount.hardtack: {error}", file=sys.stderr)
        sys.exit(2)
    hardtack(words)
