"""`mount.hardtack`: what mount(8) calls for a line of /etc/fstab of type `hardtack`.

`mount.hardtack SOURCE MOUNTPOINT [-sfnv] [-N namespace] [-o OPTION,…] [-t TYPE]`, see mount(8),
"External helpers". An option of the line is one of `hardtack mount`, with `_` or `-`.
"""

from __future__ import annotations

import sys

from click import Option

from hardtack.core.typos import meant

IGNORED = frozenset(
    [
        "atime",
        "async",
        "auto",
        "defaults",
        "dev",
        "diratime",
        "dirsync",
        "exec",
        "group",
        "iversion",
        "lazytime",
        "loud",
        "mand",
        "noatime",
        "noauto",
        "nodev",
        "nodiratime",
        "noexec",
        "nofail",
        "nogroup",
        "noiversion",
        "nolazytime",
        "nomand",
        "noowner",
        "norelatime",
        "nostrictatime",
        "nosuid",
        "nosymfollow",
        "nouser",
        "nousers",
        "owner",
        "relatime",
        "ro",
        "rw",
        "silent",
        "strictatime",
        "suid",
        "symfollow",
        "sync",
        "user",
        "users",
        "_netdev",
        "comment",
    ]
)
"""Options that are mount(8)'s own, or that every hardtack mount has."""
_COMMANDS_OWN = frozenset(["foreground", "help", "replace"])
"""Options of `hardtack mount` that make no sense of a line of fstab."""


def arguments(helper: list[str]) -> list[str]:
    """What `hardtack` is called with, for what mount(8) calls the helper with.

    Empty where mount(8) wants nothing mounted (`-f`). Raises ValueError when the call isn't one of
    mount(8)'s, or an option isn't one of a hardtack mount.
    """
    plain: list[str] = []
    options: list[str] = []
    fake = False
    rest = iter(helper)
    for word in rest:
        if word == "-o":
            options += next(rest, "").split(",")
        elif word in ("-t", "-N"):
            next(rest, "")
        elif not word.startswith("-"):
            plain.append(word)
        elif not word.startswith("--"):
            fake |= "f" in word
    if len(plain) != 2:
        found = " ".join(plain) or "neither"
        raise ValueError(
            f"expected SOURCE and MOUNTPOINT, found {found}.\n"
            "  mount(8) calls this for a line of /etc/fstab like\n"
            "  s3://BUCKET/PREFIX /srv/models hardtack region=eu-west-1,nofail 0 0"
        )
    words = ["mount", *flags(options), *plain]
    return [] if fake else words


def flags(options: list[str]) -> list[str]:
    """`cache_size=40GiB` → `--cache-size=40GiB`; `allow_other` → `--allow-other`.

    Raises ValueError for what a hardtack mount doesn't know.
    """
    return [
        _flag(*option.partition("="))
        for option in options
        if option
        and option.partition("=")[0] not in IGNORED
        and not option.startswith(("x-", "X-"))
    ]


def _flag(name: str, equals: str, value: str) -> str:
    from hardtack.cli.mount import mount

    if name == "remount":
        raise ValueError(
            "a hardtack mount keeps its options, and can't be remounted: unmount, and mount anew."
        )
    known = {
        flag.removeprefix("--").replace("-", "_"): isinstance(option, Option) and option.is_flag
        for option in mount.params
        for flag in (*option.opts, *option.secondary_opts)
        if flag.startswith("--") and flag.removeprefix("--") not in _COMMANDS_OWN
    }
    key = name.replace("-", "_")
    if key not in known:
        hint = f"{meant(key, known)} `hardtack mount --help` lists them;".lstrip()
        raise ValueError(
            f"the option {name} is not one of a hardtack mount.\n"
            f"  {hint} in fstab without the leading dashes."
        )
    if known[key] == bool(equals):
        expected = f"{name} alone" if known[key] else f"{name}=VALUE"
        raise ValueError(f"the option {name}{equals}{value} is wrong: expected {expected}.")
    return f"--{key.replace('_', '-')}{equals}{value}"


def main() -> None:
    """Mount, as mount(8) asks."""
    from hardtack.cli.main import main as hardtack

    try:
        words = arguments(sys.argv[1:])
    except ValueError as error:
        print(f"mount.hardtack: {error}", file=sys.stderr)
        sys.exit(2)
    if words:
        hardtack(words)
