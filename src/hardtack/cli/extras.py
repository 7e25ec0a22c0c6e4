"""The optional parts of an installation: what a command needs of them, told before it begins."""

from __future__ import annotations

import importlib.util

from hardtack.core.errors import ConfigError

INFERENCE = ("numpy", "onnxruntime", "PIL", "starlette", "uvicorn", "httptools", "uvloop")
"""The packages of the extra of that name."""
EXTRAS = {
    "aws": ("botocore",),
    "images": ("yaml", "grpc", "zstandard"),
    "inference": INFERENCE,
    "endpoint": ("cryptography", "urllib3"),
    "google": ("cryptography",),
}
"""Extra → the packages that it is the least one to bring."""
_DEMO = ("nanio", "huggingface_hub")


def needs_extra(extra: str, *names: str) -> None:
    """Raises ConfigError where one of the packages `names`, which `extra` brings, is missing."""
    missing = absent(*names)
    if missing:
        raise _missing(missing, extra)


def needs_demo() -> None:
    """Raises ConfigError where the demo can't run: it needs packages that no extra brings."""
    missing = absent(*INFERENCE, *EXTRAS["endpoint"], "yaml", *_DEMO)
    if missing:
        raise ConfigError(
            f"The demo needs packages that are not installed: {', '.join(missing)}.",
            remedy="In a checkout, ./run demo installs and runs it; else: "
            "pip install 'hardtack[endpoint]' nanio huggingface-hub",
        )


def without(error: ModuleNotFoundError) -> ConfigError | None:
    """What to tell of an import that failed; None where it is no package of an extra."""
    package = (error.name or "").partition(".")[0]
    for extra, names in EXTRAS.items():
        if package in names:
            return _missing([package], extra)
    return None


def absent(*names: str) -> list[str]:
    """Those of the packages that are not installed."""
    return [name for name in names if importlib.util.find_spec(name) is None]


def _missing(packages: list[str], extra: str) -> ConfigError:
    return ConfigError(
        f"This needs packages that are not installed: {', '.join(packages)}.",
        remedy=f"Install them: pip install 'hardtack[{extra}]'; "
        f"in a checkout: ./run setup, which installs every extra, or pip install '.[{extra}]'.",
    )
