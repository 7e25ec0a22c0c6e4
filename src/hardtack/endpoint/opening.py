"""The endpoint, put together from what the command line says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette

from hardtack.core.errors import ConfigError, FormatError
from hardtack.endpoint import edgeconfig, processes
from hardtack.endpoint.api import Api, Limits
from hardtack.endpoint.detectors import read_detectors
from hardtack.endpoint.edgeconfig import EdgeConfig
from hardtack.endpoint.inferring import Inferring
from hardtack.endpoint.metrics import Metrics
from hardtack.endpoint.processes import Processes
from hardtack.endpoint.service import Service
from hardtack.endpoint.store import Store

KEPT_CONFIG = "edge-config.yaml"


@dataclass(frozen=True)
class Settings:
    models: Path
    detectors: Path
    state: Path
    config: Path | None = None
    threads: int = 1
    memory: int = 0
    starting: int = 2
    limits: Limits = field(default_factory=Limits)


def application(settings: Settings) -> Starlette:
    """The endpoint's ASGI application. Raises ConfigError, FormatError."""
    detectors = read_detectors(settings.detectors, settings.models)
    config = read_config(settings.config, settings.state / KEPT_CONFIG)
    try:
        settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        store = Store(settings.state)
    except OSError as error:
        raise FormatError(f"{settings.state} can't be used: {error.strerror}.") from None
    backend = Processes(
        processes.Settings(
            settings.models, settings.state / "logs", settings.threads, settings.memory,
            settings.starting, config.refresh_rate,
        )
    )  # fmt: skip
    service = Service(
        detectors, config, settings.state / KEPT_CONFIG, backend, store, Inferring(), Metrics()
    )
    return Api(service, settings.limits).application()


def read_config(given: Path | None, kept: Path) -> EdgeConfig:
    """The configuration in force: the kept one, set while running; else the given file's.

    Raises ConfigError.
    """
    for path in (kept, given):
        if path is not None and path.is_file():
            try:
                return edgeconfig.parse(path.read_text(encoding="utf-8"), str(path))
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{path} can't be read: {error}.") from None
    if given is not None:
        raise ConfigError(f"{given}, the edge configuration, is not there.")
    return EdgeConfig()
