"""What is said where a file of the box can't be read."""

from __future__ import annotations

from pathlib import Path

from hardtack.core.errors import ConfigError

_MEND = "Mend it, then look again."


def said(error: OSError) -> tuple[str, str]:
    """What went wrong where, and what helps: most of what is k3s's is root's alone."""
    what = error.strerror or str(error)
    message = f"{error.filename}: {what}." if error.filename else f"{what}."
    return message, helps(error, _MEND)


def helps(error: Exception, otherwise: str) -> str:
    """The remedy: another user where the rights are missing, else `otherwise`."""
    return "Run it as root." if isinstance(error, PermissionError) else otherwise


def unreadable(path: Path, error: Exception, otherwise: str) -> ConfigError:
    """The error of a configuration file or directory at `path`."""
    why = (isinstance(error, OSError) and error.strerror) or str(error)
    if isinstance(error, UnicodeDecodeError):
        why = "it is not UTF-8"
    return ConfigError(f"{path} can't be read: {why}.", remedy=helps(error, otherwise))
