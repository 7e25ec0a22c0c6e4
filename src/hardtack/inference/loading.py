"""Loads the model that a server is to serve; one that isn't on the box yet is waited for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hardtack.core.errors import ModelError
from hardtack.inference import fitting, golden, ondisk
from hardtack.inference.model import Model
from hardtack.inference.ondisk import NotHere
from hardtack.inference.runtime import Options


@dataclass(frozen=True)
class Telling:
    """What whoever loads tells: of bytes that came, and why it waits. `waits` returns when it is
    time to look again, and raises what ends the loading."""

    heard: Callable[[int], None]
    waits: Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """The model in `directory`, with the out-of-distribution model in `outliers` where it isn't
    the directory's own. Without `hashes` the weights' sizes alone are checked."""

    directory: Path
    outliers: Path | None = None
    options: Options = field(default_factory=Options)
    hashes: bool = True

    def load(self, telling: Telling) -> Model:
        """The model, tried, and its golden picture answered. Waits as long as files are missing or
        can't be read: a mount may come yet, or come back. Raises ModelError, ConfigError."""
        while True:
            try:
                return self._load(telling)
            except NotHere as error:
                telling.waits(error.message)

    def _load(self, telling: Telling) -> Model:
        found, second = ondisk.locate(self.directory, hashes=self.hashes, heard=telling.heard)
        if self.outliers:
            second, _ = ondisk.locate(self.outliers, hashes=self.hashes, heard=telling.heard)
        try:
            model = Model(found, second, self.options)
            fitting.check(model)
            golden.check(model)
        except ModelError:
            for part in (found, second):
                if part and (gone := ondisk.missing(part)):
                    raise NotHere(f"{'; '.join(gone)}.") from None
            raise
        return model
