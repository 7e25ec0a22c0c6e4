"""A cache directory that an earlier version wrote opens, offline, with all that it had."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hardtack.core.errors import SourceUnreachable
from hardtack.source.memory import MemorySource
from hardtack.source.scripted import Fault, ScriptedSource
from tests.support.caches import SMALL, bytes_of, find, opened, read

FORMATS = sorted((Path(__file__).parent / "formats").iterdir())


@pytest.mark.parametrize("written", FORMATS, ids=lambda path: path.name)
def test_yesterdays_directory_opens(tmp_path: Path, written: Path) -> None:
    directory = tmp_path / "cache"
    shutil.copytree(written, directory)
    gone = Fault(times=None, error=SourceUnreachable("cut"))
    source = ScriptedSource(MemorySource("yesterday"), gone, replace(gone, operation="pages"))
    with opened(directory, source, replace(SMALL, follow="release first")) as cache:
        assert read(cache, find(cache, "models/a.bin")) == bytes_of(10_000)
        assert find(cache, "models/link").target == "a.bin"
        (release,) = cache.releases()
        assert (release.name, release.generation, release.files) == ("first", 1, 1)
