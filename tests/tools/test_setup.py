"""`./run` on a machine where it can't set up: what it says, and what to do."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which nothing is set up."""
    for name in ("run", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("tools", "requirements"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def _run(checkout: Path, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON"))}
    done = subprocess.run(
        ["./run", *words], cwd=checkout, env=kept | extra,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


OLD = "sys.version_info = (3, 9, 0, 'final', 0)"
NO_VENV = "sys.modules['ensurepip'] = None"  # as Debian's, without its package python3-venv


def _python(directory: Path, difference: str) -> Path:
    """A Python with a difference."""
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(f"import sys\n{difference}\n")
    python = directory / "python3"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{directory}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return python


def test_each_step_is_told_and_an_index_out_of_reach_is_named(checkout: Path) -> None:
    none = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
    done = _run(
        checkout, "demo", PIP_NO_CACHE_DIR="1", PIP_CONFIG_FILE="/dev/null", PYTHON=sys.executable,
        **none,
    )  # fmt: skip
    assert done.returncode == 1
    steps = [line for line in done.stderr.splitlines() if line.startswith("run: ")]
    assert "setting up for demo" in steps[0]
    assert ".venv with Python" in steps[1]
    assert "packages, versions and hashes as in requirements/demo.txt" in steps[2]
    assert steps[3:] == [
        "run:   no answer from the package index; trying again",
        "run: the package index can't be reached.",
    ]
    assert "HTTPS_PROXY" in done.stderr and "PIP_INDEX_URL" in done.stderr


PIPS = {
    "global.conf": "[global]\nindex-url = https://index.example/a\ncert = /etc/ca.pem\n",
    "install.conf": "[global]\nindex-url = https://index.example/a\n"
                    "[install]\nindex-url = https://index.example/b\nextra-index-url =\n"
                    "  https://index.example/c\n  https://index.example/d\n",
    "strange.conf": "[install]\nno-binary = :all:\n",
}  # fmt: skip


@pytest.mark.parametrize(
    ("pips", "environment", "uvs"),
    [
        ("global.conf", {},
         {"UV_DEFAULT_INDEX": "https://index.example/a", "SSL_CERT_FILE": "/etc/ca.pem"}),
        ("global.conf",
         {"PIP_INDEX_URL": "https://index.example/e", "REQUESTS_CA_BUNDLE": "/etc/other.pem"},
         {"UV_DEFAULT_INDEX": "https://index.example/e", "SSL_CERT_FILE": "/etc/ca.pem"}),
        ("install.conf", {"PIP_FIND_LINKS": "/srv/wheels /srv/more", "PIP_NO_INPUT": "1"},
         {"UV_DEFAULT_INDEX": "https://index.example/b", "UV_FIND_LINKS": "/srv/wheels,/srv/more",
          "UV_INDEX": "https://index.example/c https://index.example/d"}),
        ("install.conf", {"UV_DEFAULT_INDEX": "https://uvs.example"},
         {"UV_DEFAULT_INDEX": "https://uvs.example"}),
        ("/dev/null", {"CURL_CA_BUNDLE": "/ca.pem"}, {"SSL_CERT_FILE": "/ca.pem"}),
        ("strange.conf", {}, None),
        ("global.conf", {"PIP_ONLY_BINARY": ":none:"}, None),
    ],
)  # fmt: skip
def test_uv_asks_whom_pip_asks(
    tmp_path: Path, pips: str, environment: dict[str, str], uvs: dict[str, str] | None
) -> None:
    for name, text in PIPS.items():
        (tmp_path / name).write_text(text)
    asked = "import sys; sys.path.insert(0, 'tools'); import index, json; print(json.dumps(index.for_uv()))"  # noqa: E501
    heard = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / pips)} | environment
    done = subprocess.run(
        [sys.executable, "-c", asked], cwd=ROOT, env=heard, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    told = json.loads(done.stdout)
    if uvs is None:
        assert told is None
    else:
        assert told.items() >= uvs.items()


@pytest.mark.parametrize(
    ("fails", "pips", "runs"),
    [("", "", ["uv"]), ("exit 1", "", ["uv", "pip"]), ("", ":env:.no-binary=':all:'", ["pip"])],
)
def test_where_uv_cant_pip_installs(checkout: Path, fails: str, pips: str, runs: list[str]) -> None:
    programs = checkout / ".venv" / "bin"
    programs.mkdir(parents=True)
    log = checkout / "log"
    (programs / "uv").write_text(f'#!/bin/sh\necho "uv $*" >> {log}\n{fails}\n')
    (programs / "python").write_text(
        "#!/bin/sh\n"
        f'case "$*" in *config\\ list) echo "{pips}";; *) echo "pip $*" >> {log};; esac\n'
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    asked = "import sys; sys.path.insert(0, 'tools'); import environment; environment.install('--require-hashes', 'x', only_pip=('--upgrade',))"  # noqa: E501
    subprocess.run([sys.executable, "-c", asked], cwd=checkout, capture_output=True, check=True)
    lines = log.read_text().splitlines()
    assert [line.split()[0] for line in lines] == runs
    assert all("--require-hashes x" in line for line in lines)
    assert ["--upgrade" in line for line in lines] == [run == "pip" for run in runs]


def test_a_second_set_up_waits_for_the_first(checkout: Path) -> None:
    asked = (
        sys.executable,
        "-c",
        "import sys; sys.path.insert(0, 'tools'); import environment\n"
        "environment._ensure = lambda level: None\nenvironment.ensure('dev'); print('done')",
    )
    kept = os.open(checkout, os.O_RDONLY)
    try:
        fcntl.flock(kept, fcntl.LOCK_EX)
        with subprocess.Popen(
            asked, cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as second:  # fmt: skip
            assert second.stderr is not None
            assert "is being set up already" in second.stderr.readline()
            assert second.poll() is None
            fcntl.flock(kept, fcntl.LOCK_UN)
            assert second.communicate(timeout=60)[0] == "done\n"
    finally:
        os.close(kept)


def test_a_python_that_is_too_old_is_named(checkout: Path) -> None:
    old = _python(checkout / "old", OLD)
    done = _run(checkout, "demo", PYTHON=str(old))
    assert (done.returncode, done.stderr) == (
        2, f"run: PYTHON={old} is Python 3.9; 3.11 or later is needed.\n",
    )  # fmt: skip
    for name in ("python3.14", "python3.13", "python3.12", "python3.11"):
        shutil.copy(old, old.parent / name)
    done = _run(checkout, "demo", PATH=f"{old.parent}:/usr/bin:/bin", PYENV_ROOT="/nonexistent")
    assert done.returncode == 2
    assert "3.11 or later is needed; python3 is Python 3.9 here" in done.stderr
    assert "PYTHON=/path/to/python3.11 ./run demo" in done.stderr


def test_a_python_without_venv_says_what_to_type(checkout: Path) -> None:
    bare = _python(checkout / "bare", NO_VENV)
    done = _run(checkout, "demo", PYTHON=str(bare), PATH=str(bare.parent))  # no apt-get
    assert done.returncode == 1
    assert "has no venv module. Install its package, or name another" in done.stderr


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
         "the disk is full"),
        ("error: command 'gcc' failed: No such file or directory\nERROR: Failed building wheel",
         "would have to be compiled"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
         "not the one that the lock file names"),
        ("ERROR: Could not find a version that satisfies the requirement numpy==2.5.5",
         "can't be had from this package index"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]",
         "certificate can't be verified"),
        ("ERROR: [Errno 13] Permission denied: '/srv/hardtack/.venv'", "can't be written"),
    ],
)  # fmt: skip
def test_what_a_failed_step_means(output: str, said: str) -> None:
    asked = "import sys; sys.path.insert(0, 'tools'); import installing; print(installing.explained(sys.argv[1]))"  # noqa: E501
    done = subprocess.run(
        [sys.executable, "-c", asked, f"Collecting numpy\n{output}\n"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said in done.stdout and output.splitlines()[0] in done.stdout
