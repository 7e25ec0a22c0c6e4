"""One endpoint owns its state directory, however many are started."""

from __future__ import annotations

import functools
import os
import re
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hardtack.cache.owner import Owner
from hardtack.core.errors import CacheBusy
from hardtack.endpoint.database import open_database
from hardtack.endpoint.opening import own_state
from hardtack.endpoint.store import Store
from tests.endpoint.test_rollout import DIGIT
from tests.support.commands import HARDTACK, clean_environment
from tests.support.endpoints import write_detectors, write_models

_SCHEMA = "CREATE TABLE one (a TEXT); CREATE TABLE two (b TEXT);"


def test_of_two_that_open_one_new_database_one_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, connect = tmp_path / "new.sqlite", sqlite3.connect
    refused: list[str] = []

    class Raced(sqlite3.Connection):
        """Another process comes first, if it can, wherever this one has looked."""

        def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
            found = super().execute(sql, *rest)
            if sql == "PRAGMA user_version":
                other = connect(path, timeout=0)
                try:
                    other.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version=1; COMMIT")
                except sqlite3.OperationalError as error:
                    refused.append(str(error))
                finally:
                    other.close()
            return found

    monkeypatch.setattr(sqlite3, "connect", functools.partial(connect, factory=Raced))
    db = open_database(path, 1, _SCHEMA)
    db.execute("INSERT INTO two VALUES ('x')")
    db.close()
    assert refused == ["database is locked"]


def test_a_database_that_another_writes_for_long_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, connect = tmp_path / "kept.sqlite", sqlite3.connect
    open_database(path, 1, _SCHEMA).close()
    other = connect(path)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(
        sqlite3, "connect", lambda path, **options: connect(path, **options | {"timeout": 0})
    )
    with pytest.raises(CacheBusy, match="in use by another process"):
        open_database(path, 1, _SCHEMA)
    other.close()


def test_a_second_endpoint_is_told_which_process_has_the_state(tmp_path: Path) -> None:
    holder = own_state(tmp_path)
    try:
        with pytest.raises(CacheBusy) as caught:
            own_state(tmp_path, patience=0.3)
    finally:
        holder.release()
    message = f"the state directory {tmp_path} is in use by process {os.getpid()} (endpoint serve)"
    assert message in str(caught.value)
    assert "another --state directory" in str(caught.value)


def test_an_endpoint_waits_for_the_one_before_to_end(tmp_path: Path) -> None:
    models = write_models(tmp_path, [DIGIT])
    detectors = write_detectors(tmp_path / "detectors.yaml", [DIGIT])
    state = tmp_path / "state"
    state.mkdir()
    before = Owner(state, "endpoint serve", kind="state")
    Store(state).close()
    process = subprocess.Popen(
        [*HARDTACK, "endpoint", "serve", "--models", str(models), "--detectors", str(detectors),
         "--state", str(state), "--port", "0"],
        env=clean_environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        seen = []
        for line in process.stderr:
            seen.append(line)
            if "Waiting for up to" in line:
                before.release()
            if "The endpoint listens" in line:
                break
        said = "".join(seen)
        assert re.search(rf"Waiting for up to 15 s: .* process {os.getpid()} ", said), said
        assert "The endpoint listens on http://" in said, said
    finally:
        process.terminate()
        process.communicate(timeout=30)
