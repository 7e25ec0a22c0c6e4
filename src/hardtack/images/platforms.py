"""Platforms (`linux/arm/v7`) and how containerd matches them."""

from __future__ import annotations

import os as os_module
from typing import NamedTuple

from hardtack.core.errors import ConfigError

_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "i386": "386",
    "aarch64": "arm64",
    "armhf": "arm",
    "armel": "arm",
}


class Platform(NamedTuple):
    """An operating system, an architecture and perhaps a variant, normalised as containerd does:
    `arm64/v8` is `arm64`, `arm` is `arm/v7`, `amd64/v1` is `amd64`."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """`linux/amd64`, `linux/arm/v7`. Raises ConfigError."""
        parts = text.lower().split("/")
        if len(parts) not in (2, 3) or not all(
            (p.isascii() and p.isalnum()) or p == "x86_64" for p in parts
        ):
            raise ConfigError(f"{text!r} is not a platform.", remedy="Write it like linux/arm64.")
        return cls.of(*parts)

    @classmethod
    def of(cls, os: str, architecture: str, variant: str = "") -> Platform:
        """The normalised platform."""
        os, variant = os.lower(), variant.lower()
        name = architecture.lower()
        if name == "armel" and not variant:
            variant = "v6"
        name = _ARCHITECTURES.get(name, name)
        if variant.isdigit():
            variant = f"v{variant}"
        if (name, variant) in {("arm64", "v8"), ("amd64", "v1")}:
            variant = ""
        if (name, variant) == ("arm", ""):
            variant = "v7"
        return cls(os, name, variant)

    @classmethod
    def here(cls) -> Platform:
        """This machine's."""
        machine = os_module.uname().machine
        name, variant = {"armv7l": ("arm", "v7"), "armv6l": ("arm", "v6")}.get(
            machine, (machine, "")
        )
        return cls.of("linux", name, variant)

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))

    def accepts(self) -> tuple[Platform, ...]:
        """Platforms whose images run on this one, best first."""
        if self.architecture == "arm":
            newest = int(self.variant[1:]) if self.variant[1:].isdigit() else 7
            return tuple(Platform(self.os, "arm", f"v{n}") for n in range(newest, 4, -1))
        if self.architecture == "arm64":
            arm = Platform(self.os, "arm", "v8").accepts()
            plain = () if not self.variant else (Platform(self.os, "arm64"),)
            return (self, *plain, *arm)
        if self.architecture == "amd64":
            newest = int(self.variant[1:]) if self.variant[1:].isdigit() else 1
            lower = (Platform.of(self.os, "amd64", f"v{n}") for n in range(newest, 0, -1))
            return (*lower, Platform(self.os, "386"))
        return (self,)
