"""`hardtack inference examine` beside a program that serves a model, and does it well or not."""

from __future__ import annotations

import http.server
import json
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3

from hardtack.core.errors import ConfigError, ModelError
from hardtack.endpoint.backends.examining import listening
from tests.endpoint.test_bad_servers import golden_version
from tests.endpoint.test_programs import ID, publish
from tests.support.commands import HARDTACK, clean_environment, run
from tests.support.ports import free_port
from tests.support.waiting import until

YES: dict[str, object] = {"confidences": [0.9], "labels": [0]}
NO: dict[str, object] = {"confidences": [0.9], "labels": [1]}


class _Server(http.server.ThreadingHTTPServer):
    allow_reuse_port = True


class Program:
    """Speaks edge-endpoint's /infer. `answer` None: it hangs over a picture until it ends."""

    def __init__(self, port: int, answer: dict[str, object] | None, *, ready: bool) -> None:
        self.ready, self.answer, self.pictures = ready, answer, 0
        self.ended = threading.Event()
        program = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply(200 if program.ready else 503, {"reason": "half of it is here"})

            def do_POST(self) -> None:
                program.pictures += 1
                self.rfile.read(int(self.headers["content-length"]))
                if program.answer is None:
                    program.ended.wait()
                    return
                self._reply(200, {"predictions": program.answer})

            def _reply(self, status: int, told: object) -> None:
                body = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Nobody reads it."""

        self.server = _Server(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=[0.02])
        self.thread.start()

    def close(self) -> None:
        self.ended.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@contextmanager
def program(
    port: int, answer: dict[str, object] | None = YES, *, ready: bool = True
) -> Iterator[Program]:
    served = Program(port, answer, ready=ready)
    try:
        yield served
    finally:
        served.close()


class Examiner:
    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self._log = process, log
        (port,) = until(lambda: re.findall(r"on http://127.0.0.1:(\d+)\n", self.said), lambda: log)
        self._url = f"http://127.0.0.1:{port}"

    @property
    def said(self) -> str:
        return self._log.read_text()

    def asked(self, path: str = "/health/ready") -> tuple[int, str]:
        reply = self.replied("GET", path)
        return reply.status, reply.data.decode()

    def replied(self, method: str, path: str = "/health/ready") -> urllib3.BaseHTTPResponse:
        return urllib3.request(method, self._url + path, retries=False, timeout=10)

    def passed(self) -> None:
        until(lambda: self.asked()[0] == 200, self.asked)

    def waits(self, reason: str) -> None:
        until(lambda: reason in self.asked()[1], self.asked)
        assert self.asked()[0] == 503

    def ended(self) -> str:
        """Its last words: what the reason of a pod is read from."""
        assert self.process.wait(60) == ModelError.exit_code
        return next(line for line in self.said.splitlines() if line.startswith("hardtack: "))


@contextmanager
def examiner(tmp_path: Path, package: Path, port: int, *options: str) -> Iterator[Examiner]:
    log = tmp_path / "examiner.log"
    command = [*HARDTACK, "inference", "examine", "--model", str(package), "--port", "0",
               "--server-port", str(port), *options]  # fmt: skip
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stderr=stderr, text=True, env=clean_environment())
    try:
        yield Examiner(process, log)
    finally:
        process.kill()
        process.wait(30)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A version whose golden picture is a YES."""
    (tmp_path / "models" / ID / "primary").mkdir(parents=True)
    golden_version(tmp_path / "models", 2, "YES", "")
    return tmp_path / "models" / ID / "primary" / "2"


def test_the_right_answer_passes_and_is_asked_for_once(tmp_path: Path, package: Path) -> None:
    port = free_port()
    with examiner(tmp_path, package, port) as examining:
        examining.waits(f"Nobody listens on port {port}.")
        assert examining.asked("/health/live")[0] == 200
        assert examining.asked("/other")[0] == 404
        with program(port, ready=False) as served:
            examining.waits("answers 503 half of it is here to /health/ready")
            served.ready = True
            examining.passed()
            served.ready = False  # as one that has too much to do just now
            examining.passed()
            assert served.pictures == 1
        examining.process.terminate()
        assert examining.process.wait(30) == 128 + signal.SIGTERM
        assert examining.said.endswith("hardtack: ended by SIGTERM\n")


def test_methods_other_than_get_are_told_so_as_json_and_head_is_answered_without_a_body(
    tmp_path: Path, package: Path
) -> None:
    with examiner(tmp_path, package, free_port()) as examining:
        examining.waits("Nobody listens")
        for path, status in (("/health/ready", 503), ("/health/live", 200), ("/other", 404)):
            get, head = (examining.replied(method, path) for method in ("GET", "HEAD"))
            assert get.status == head.status == status
            assert get.headers["content-type"] == "application/json"
            assert get.headers["content-length"] == head.headers["content-length"]
            assert json.loads(get.data) and not head.data
        for method in ("POST", "DELETE"):
            refused = examining.replied(method)
            assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
            assert f"{method} isn't answered" in json.loads(refused.data)["reason"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("inference examine --model . --answer-time 0", "--answer-time"),
        ("inference serve --model . --answer-time 0s", "--answer-time"),
        ("endpoint serve --answer-time 0", "--answer-time"),
        (
            "inference examine --model . --port 8123 --server-port 8123",
            "8123 is the program's port",
        ),
    ],
)
def test_no_time_to_answer_in_and_one_port_for_both_are_wrong_usage(
    command: str, said: str
) -> None:
    done = run(*command.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_wrong_answer_ends_it_and_its_last_words_say_which_picture(
    tmp_path: Path, package: Path
) -> None:
    port = free_port()
    with program(port, NO), examiner(tmp_path, package, port) as examining:
        said = examining.ended()
    assert f"{package}: it fails its golden picture golden.png: expected 'YES', it says" in said


def test_a_program_that_was_started_again_is_examined_again(tmp_path: Path, package: Path) -> None:
    port = free_port()
    with examiner(tmp_path, package, port) as examining:
        with program(port):
            examining.passed()
        # The program of now has passed nothing, whether anybody looked while none was there or not.
        with program(port, ready=False) as again:
            assert examining.asked()[0] == 503
            again.ready = True
            examining.passed()
            assert again.pictures == 1
        with program(port, NO):
            assert examining.asked()[0] == 503
            assert "expected 'YES', it says 'NO'" in examining.ended()


def test_of_programs_that_share_the_port_one_may_be_followed_by_another(
    tmp_path: Path, package: Path
) -> None:
    """As workers of one program are."""
    port = free_port()
    with examiner(tmp_path, package, port) as examining, program(port) as second:
        with program(port) as first:
            examining.passed()
            assert len(listening(port)) == 2
        examining.passed()
        with program(port):
            examining.passed()
        assert first.pictures + second.pictures == 1


def test_a_connection_is_no_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        one = listening(port)
        assert len(one) == 1
        with socket.create_connection(("127.0.0.1", port)):
            assert listening(port) == one
    assert listening(port) == frozenset()


@pytest.mark.parametrize("answer", [None, {"labels": []}])
def test_no_answer_and_nonsense_are_told(
    tmp_path: Path, package: Path, answer: dict[str, object] | None
) -> None:
    port = free_port()
    with (
        program(port, answer),
        examiner(tmp_path, package, port, "--answer-time", "200ms") as examining,
    ):
        said = examining.ended()
    assert "golden picture golden.png" in said
    assert ("ReadTimeoutError" if answer is None else "nothing usable") in said


def test_a_program_that_ends_over_its_picture_is_told(tmp_path: Path, package: Path) -> None:
    port = free_port()
    with examiner(tmp_path, package, port) as examining, program(port, None) as served:
        until(lambda: served.pictures)
        served.ended.set()  # it hangs up
        assert "does not answer its golden picture golden.png" in examining.ended()


def test_it_ends_when_told_to_while_it_waits_for_an_answer(tmp_path: Path, package: Path) -> None:
    port = free_port()
    with program(port, None) as served, examiner(tmp_path, package, port) as examining:
        until(lambda: served.pictures)
        examining.waits("is asked its golden picture")
        examining.process.send_signal(signal.SIGTERM)
        assert examining.process.wait(30) == 128 + signal.SIGTERM


def test_a_package_without_a_golden_picture_passes_at_once(tmp_path: Path) -> None:
    publish(tmp_path / "models", 1, 0.9)
    package = tmp_path / "models" / ID / "primary" / "1"
    with examiner(tmp_path, package, free_port()) as examining:
        examining.passed()


def test_a_picture_that_is_not_here_is_waited_for(tmp_path: Path, package: Path) -> None:
    """As a mount's that is away: no fault of the version's."""
    port, picture = free_port(), package / "golden.png"
    away = picture.rename(tmp_path / "away")
    with program(port), examiner(tmp_path, package, port) as examining:
        examining.waits("golden.png: No such file")
        away.rename(picture)
        examining.passed()
    with examiner(tmp_path, package, port) as examining:
        examining.waits("Nobody listens")
        away = picture.rename(tmp_path / "away")
        with program(port):
            examining.waits("golden.png can't be read: No such file")
            away.rename(picture)
            examining.passed()


def test_an_outlier_model_lowers_the_confidence_that_is_expected(
    tmp_path: Path, package: Path
) -> None:
    with (package / "model.toml").open("a") as toml:
        toml.write("confidence = 0.2\n")
    publish(tmp_path / "other", 1, 0.9)
    port, oodd = free_port(), tmp_path / "other" / ID / "primary" / "1"
    with program(port):
        with examiner(tmp_path, package, port) as examining:
            assert "expected a confidence of 0.200" in examining.ended()
        with examiner(tmp_path, package, port, "--oodd", str(oodd)) as examining:
            examining.passed()


def test_a_package_that_never_will_be_one_and_a_taken_port_are_told_at_once(
    tmp_path: Path, package: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("inference", "examine", "--model", package, "--port", port)
    assert done.returncode == ConfigError.exit_code
    assert port in done.stderr
    (package / "model.toml").write_text("format = 99\n")
    done = run("inference", "examine", "--model", package, "--port", "0")
    assert done.returncode == ModelError.exit_code
    assert "has format 99" in done.stderr
