"""`localhost` is a name with no DNS. Which server resolves others, only a person knows."""

from __future__ import annotations

from collections.abc import Iterable

from hardtack.deploy.prepare.step import Change, Step, Target

_HOSTS = "etc/hosts"
_LINE = "127.0.0.1 localhost\n"


def plan(target: Target) -> Iterable[Change]:
    if "localhost" in target.facts().network.hosts:
        return
    path = target.path(_HOSTS)

    def append() -> None:  # in place: in a container the file is a mount
        before = path.read_text(errors="replace") if path.exists() else ""
        with path.open("a") as file:
            file.write(_LINE if not before or before.endswith("\n") else f"\n{_LINE}")

    yield Change(f"add localhost to {path}", append)


STEP = Step(
    "names",
    "localhost is known without DNS",
    plan,
    "stays: it is as Debian has it, and programs rely on it",
)
