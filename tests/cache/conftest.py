"""A source of two objects, whose faults a test scripts."""

from __future__ import annotations

import pytest

from hardtack.source.memory import MemorySource
from hardtack.source.scripted import ScriptedSource
from tests.support.caches import DATA


@pytest.fixture
def source() -> ScriptedSource:
    memory = MemorySource()
    memory.put("a.bin", DATA)
    memory.put("b.bin", DATA[::-1])
    return ScriptedSource(memory)
