"""New versions of a model: rolled out with no failed query, refused where they are bad."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from hardtack.demo.detectors import SAMPLES
from hardtack.inference import writing
from tests.support.endpoints import Endpoint, endpoint, write_detectors, write_models
from tests.support.stopping import stop
from tests.support.waiting import until

DIGIT, ZERO = SAMPLES[4], SAMPLES[5]
FAST = ("--model-refresh", "200ms", "--probation", "3s")


def server(running: Endpoint, detector: str = DIGIT.id) -> dict[str, Any]:
    told: dict[str, Any] = running.json("/status/metrics.json")["detectors"][detector]["server"]
    return told


def serves(running: Endpoint, version: str, detector: str = DIGIT.id) -> None:
    def now() -> bool:
        told = server(running, detector)
        return bool(told["version"] == version and told["phase"] == "ready")

    until(now, lambda: (server(running, detector), running.log.read_text()))


def publish(models: Path, version: int, golden: str = "", *, harm: bool = False) -> Path:
    """The next version of DIGIT, as a mount shows it: whole at once."""
    primary = models / DIGIT.id / "primary"
    made = Path(shutil.copytree(primary / "1", models / f".making-{version}"))
    if golden:
        (made / "golden.png").write_bytes(DIGIT.picture())
        toml = made / "model.toml"
        text = writing.golden("multiclass", made / "golden.png", golden)
        toml.write_text(toml.read_text() + text)
    if harm:
        weights = made / "model.onnx"
        body = bytearray(weights.read_bytes())
        body[len(body) // 2] ^= 0xFF
        weights.write_bytes(body)
    return made.rename(primary / str(version))


def processes(running: Endpoint, detector: str = DIGIT.id) -> list[int]:
    """The detector's servers that run now."""
    found = []
    for process in psutil.Process(running.process.pid).children(recursive=True):
        try:
            if detector in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


class Load:
    """Queries one after another from several threads; counts what is no answer."""

    def __init__(self, running: Endpoint) -> None:
        self._running = running
        self._end = threading.Event()
        self.answers = 0
        self.failures: list[str] = []
        self.versions: set[str] = set()
        self.most = 0

    def ask(self) -> None:
        while not self._end.is_set():
            reply = self._running.submit(DIGIT)
            if reply.status == 200 and reply.json()["result"]["label"] == "7":
                self.answers += 1
            else:
                self.failures.append(f"{reply.status} {reply.data!r}")
            self.most = max(self.most, len(processes(self._running)))
            self._end.wait(0.1)

    @contextmanager
    def on(self) -> Iterator[Load]:
        threads = [threading.Thread(target=self.ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._end.set()
            for thread in threads:
                thread.join()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return write_models(tmp_path, [DIGIT])


@contextmanager
def running(tmp_path: Path, models: Path, *options: str) -> Iterator[Endpoint]:
    detectors = write_detectors(tmp_path / "detectors.yaml", [DIGIT])
    with endpoint(tmp_path, models, detectors, *FAST, *options) as served:
        yield served


def test_new_versions_take_over_with_no_failed_query(tmp_path: Path, models: Path) -> None:
    with running(tmp_path, models) as served:
        old = processes(served)
        with Load(served).on() as load:
            publish(models, 2, golden="7")
            serves(served, "2")
            until(lambda: not set(old) & set(processes(served)), lambda: processes(served))
            seen = load.answers
            until(lambda: load.answers > seen + 5, lambda: load.failures)
        assert load.failures == []
        assert load.most == 2


def test_of_many_versions_only_the_newest_waiting_one_is_loaded(
    tmp_path: Path, models: Path
) -> None:
    with running(tmp_path, models) as served, Load(served).on() as load:
        for version in range(2, 12):
            publish(models, version)
            time.sleep(0.1)  # a source that publishes faster than anything loads
        serves(served, "11")
        log = served.log.read_text()
        loaded = re.findall(r"is ready, version (\d+)", log)
        assert loaded[0] == "1" and loaded[-1] == "11"
        assert len(loaded) < 6
    assert load.failures == []
    assert load.most == 2


@pytest.mark.parametrize(
    ("golden", "harm", "said"),
    [("1", False, "expected '1', it says '7'"), ("7", True, "has SHA-256")],
)
def test_a_bad_version_is_refused_and_named_and_the_old_one_stays(
    tmp_path: Path, models: Path, golden: str, harm: bool, said: str
) -> None:
    with running(tmp_path, models) as served:
        with Load(served).on() as load:
            publish(models, 2, golden, harm=harm)
            told = until(lambda: server(served)["refused"], lambda: server(served))
            assert told == ["2"]
            state = server(served)
            assert (state["phase"], state["version"]) == ("ready", "1")
            assert said in state["note"]
            metrics = served.ask("GET", "/metrics").data.decode()
            assert f'refused_versions{{detector="{DIGIT.id}"}} 1.0' in metrics
            assert said in served.log.read_text()
            publish(models, 3, "7")
            serves(served, "3")
        assert load.failures == []
    # It stays refused when the box starts again, and is not tried first.
    shutil.rmtree(models / DIGIT.id / "primary" / "3")
    with running(tmp_path, models) as served:
        assert server(served)["version"] == "1"
        assert said in server(served)["note"]


def test_a_version_with_a_wrong_count_of_classes_is_refused(tmp_path: Path, models: Path) -> None:
    with running(tmp_path, models) as served:
        made = shutil.copytree(models / DIGIT.id / "primary" / "1", models / ".making")
        text = (made / "model.toml").read_text()
        (made / "model.toml").write_text(text.replace('"9"]', '"9", "10"]'))
        made.rename(models / DIGIT.id / "primary" / "2")
        until(lambda: server(served)["refused"] == ["2"], lambda: server(served))
        state = server(served)
        assert (state["phase"], state["version"]) == ("ready", "1")
        assert "puts out 10 scores, model.toml names 11 classes" in state["note"]
        assert served.submit(DIGIT).json()["result"]["label"] == "7"


def test_a_version_that_crashes_after_the_swap_gives_way_to_the_one_before(
    tmp_path: Path, models: Path
) -> None:
    with running(tmp_path, models, "--probation", "60s") as served:
        old = processes(served)
        publish(models, 2, "7")
        serves(served, "2")
        (new,) = set(processes(served)) - set(old)
        with Load(served).on() as load:
            os.kill(new, signal.SIGKILL)
            serves(served, "1")
            state = server(served)
            assert state["refused"] == ["2"]
            assert "signal 9" in state["note"]
        assert processes(served) == old
        # What was under way at the crash may fail, no more.
        assert len(load.failures) <= 2


def test_a_version_that_was_taken_away_makes_way_for_a_lower_one(
    tmp_path: Path, models: Path
) -> None:
    publish(models, 2)
    with running(tmp_path, models) as served:
        assert server(served)["version"] == "2"
        # It is only half there, as while it is published anew. That the look which finds 3 bad, and
        # those after it, saw this too is what makes the next line mean something.
        (models / DIGIT.id / "primary/2/model.onnx").rename(tmp_path / "away")
        for bad in (3, 4):
            publish(models, bad, "7", harm=True)
            until(lambda: str(bad) in server(served)["refused"], lambda: server(served))  # noqa: B023
        assert server(served)["version"] == "2"
        shutil.rmtree(models / DIGIT.id / "primary/2")
        serves(served, "1")


def test_an_outlier_model_that_comes_later_lowers_the_confidence(
    tmp_path: Path, models: Path
) -> None:
    with running(tmp_path, models) as served:
        before = served.submit(DIGIT).json()["result"]["confidence"]
        made = models / ".making"
        write_models(tmp_path / "other", [ZERO])
        shutil.copytree(tmp_path / "other/models" / ZERO.id / "primary/1", made)
        (models / DIGIT.id / "oodd").mkdir()
        made.rename(models / DIGIT.id / "oodd/4")
        serves(served, "1-oodd4")
        # ZERO says of a seven that it is none: p(outlier) is near 0, and 1 of a zero.
        assert abs(served.submit(DIGIT).json()["result"]["confidence"] - before) < 0.05
        outlier = served.post(DIGIT.id, ZERO.picture()).json()["result"]
        assert outlier["confidence"] < 0.2


def test_servers_die_with_an_endpoint_that_is_killed(tmp_path: Path, models: Path) -> None:
    with running(tmp_path, models) as served:
        (pid,) = processes(served)
        served.process.kill()
        served.process.wait()
        until(lambda: not Path(f"/proc/{pid}").exists() or _zombie(pid), lambda: pid)


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_server_that_hangs_is_started_again(tmp_path: Path, models: Path) -> None:
    with running(tmp_path, models) as served:
        (pid,) = processes(served)
        stop(pid)
        until(lambda: pid not in processes(served), lambda: server(served), seconds=90)
        until(lambda: server(served)["restarts"] == 1, lambda: server(served))
        serves(served, "1")
        assert "it hangs" in served.log.read_text()
        until(lambda: served.submit(DIGIT).status == 200, lambda: server(served))


def test_a_server_that_takes_too_much_memory_is_started_again_and_told(
    tmp_path: Path, models: Path
) -> None:
    detectors = write_detectors(tmp_path / "detectors.yaml", [DIGIT])
    options = (*FAST, "--memory", "20MB")
    with endpoint(tmp_path, models, detectors, *options, ready=False) as served:
        told = until(lambda: "of memory, and may take" in server(served)["note"] and server(served),
                     lambda: server(served))  # fmt: skip
        assert told["phase"] in ("failed", "waiting", "loading")
        refused = until(
            lambda: (reply := served.submit(DIGIT)).status == 503 and reply, lambda: "never 503"
        )
        assert refused.headers["retry-after"]
        assert json.loads(refused.data)["detail"].startswith(f"The detector {DIGIT.id} is ")


def test_weights_that_go_away_and_come_back(tmp_path: Path, models: Path) -> None:
    with running(tmp_path, models) as served:
        models.rename(tmp_path / "lost")
        assert served.submit(DIGIT).status == 200  # what is loaded answers
        (pid,) = processes(served)
        os.kill(pid, signal.SIGKILL)
        until(lambda: server(served)["phase"] == "absent", lambda: server(served))
        refused = served.submit(DIGIT)
        assert refused.status == 503
        assert refused.headers["retry-after"]
        (tmp_path / "lost").rename(models)
        serves(served, "1")
        assert served.submit(DIGIT).status == 200
