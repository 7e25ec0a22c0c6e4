"""The drill's own parts that can be wrong by themselves."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from drill.delay import delaying
from drill.steps import Broken, Record, expect

from drill import reader, volumes
from tests.support.ports import free_port, wait_for_port

OBJECTS: volumes.Objects = {
    ("ConfigMap", "given"): {"data": {"a.yaml": "a: 1\n"}},
    ("Secret", "aws"): {"data": {"old": "b2xk"}, "stringData": {"new": "new"}},
}


def _made(volume: volumes.Manifest, tmp_path: Path) -> Path:
    return Path(volumes.make(volume, tmp_path / "made", lambda p: tmp_path / p[1:], OBJECTS))


def test_volumes_hold_what_the_cluster_holds(tmp_path: Path) -> None:
    made = _made({"name": "v", "configMap": {"name": "given"}}, tmp_path)
    assert (made / "a.yaml").read_text() == "a: 1\n"
    made = _made({"name": "v", "secret": {"secretName": "aws"}}, tmp_path)
    assert {f.name: f.read_text() for f in made.iterdir()} == {"old": "old", "new": "new"}
    assert list(_made({"name": "v", "emptyDir": {}}, tmp_path).iterdir()) == []
    optional = {"name": "v", "secret": {"secretName": "none", "optional": True}}
    assert list(_made(optional, tmp_path).iterdir()) == []
    host = {"name": "v", "hostPath": {"path": "/opt/edge", "type": "DirectoryOrCreate"}}
    assert _made(host, tmp_path) == Path("/opt/edge")
    assert (tmp_path / "opt/edge").is_dir()


@pytest.mark.parametrize("volume", [{"name": "v", "configMap": {"name": "none"}},
                                    {"name": "v", "nfs": {"server": "here"}}])  # fmt: skip
def test_what_a_pod_cannot_have_is_an_error(volume: volumes.Manifest, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none|nfs"):
        _made(volume, tmp_path)


def test_the_record_tells_steps_and_promises() -> None:
    told: list[str] = []
    record = Record(told.append)
    with record.step("pull the plug") as said:
        said.append("dark")
    record.holds("it comes back", "it did")
    assert len(told) == 1
    assert "dark" in told[0]
    text = record.as_text(1.0).splitlines()
    assert any(line.startswith("pull the plug  up") for line in text)
    assert any(line.split() == ["it", "comes", "back", "it", "did"] for line in text)
    with pytest.raises(Broken, match="dark"), record.step("again"):
        expect(False, "dark still")
    assert [step.what for step in record.steps] == ["pull the plug"]


def test_the_relay_loses_nothing() -> None:
    body = bytes(range(256)) * 2000
    with socket.create_server(("127.0.0.1", 0)) as far:

        def echo() -> None:
            while True:
                try:
                    connection, _ = far.accept()
                except OSError:
                    return
                with connection:
                    while piece := connection.recv(1 << 16):
                        connection.sendall(piece)

        threading.Thread(target=echo, daemon=True).start()
        at = ("127.0.0.1", free_port())
        entered: list[int] = []
        with delaying(at, far.getsockname(), 0.1, lambda: entered.append(threading.get_ident())):
            wait_for_port(at[1])
            with socket.create_connection(at) as near:

                def send() -> None:
                    near.sendall(body)
                    near.shutdown(socket.SHUT_WR)

                threading.Thread(target=send).start()
                came = b""
                while piece := near.recv(1 << 16):
                    came += piece
        assert came == body
        assert entered != [threading.get_ident()]
        far.shutdown(socket.SHUT_RDWR)


def test_the_reader_counts_from_nothing_when_it_is_asked_to(tmp_path: Path) -> None:
    """What was counted before is gone with the question; it isn't waited for once more."""
    file, report = tmp_path / "weights", tmp_path / "seen"
    file.write_bytes(b"w" * 1000)
    with subprocess.Popen([sys.executable, reader.__file__, str(file), str(report)]) as process:
        try:
            watch = reader.Reader(report)
            before = watch.rounds(60)["opened"]
            watch.anew()
            assert 2 <= watch.seen()["opened"] < before
        finally:
            process.kill()


def test_the_reader_reads_all_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"w" * 3_000_000)
    with file.open("rb") as opened:
        assert reader._read(opened.fileno(), 3_000_000) == b"w" * 3_000_000
        with pytest.raises(OSError, match="early"):
            reader._read(opened.fileno(), 3_000_001)
