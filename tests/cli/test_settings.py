"""Flags over environment over hardtack.toml, and messages that say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hardtack.cli.mount_helper import arguments
from tests.support.commands import run


def shown(
    *flags: str, env: dict[str, str] | None = None, config: Path
) -> dict[str, tuple[object, str]]:
    done = run("--config", config, "config", "show", "--json", *flags, env=env)
    assert done.returncode == 0, done.stderr
    return {row["name"]: (row["value"], row["from"]) for row in json.loads(done.stdout)}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "hardtack.toml"
    file.write_text(
        '[source]\nregion = "from-file"\nprofile = "from-file"\n[cache]\nconnections = 7\n'
    )
    return file


def test_flag_over_environment_over_file(config: Path) -> None:
    env = {"HARDTACK_REGION": "from-env", "HARDTACK_PROFILE": "from-env"}
    found = shown("--region", "from-flag", env=env, config=config)
    assert found["region"] == ("from-flag", "flag --region")
    assert found["profile"] == ("from-env", "environment HARDTACK_PROFILE")
    assert found["connections"] == (7, str(config))
    assert found["keep_free"] == (1 << 30, "default")


def test_the_environment_of_sidecars_is_understood(config: Path) -> None:
    env = {"S3_REGION": "eu-north-1", "CACHE_PATH": "/somewhere"}
    found = shown(env=env, config=config)
    assert found["region"] == ("eu-north-1", "environment S3_REGION")
    assert found["cache_directory"] == ("/somewhere", "environment CACHE_PATH")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[source]\nregoin = 'x'\n", "Did you mean 'region'?"),
        ("[weights]\na = 1\n", "unknown table or key 'weights'"),
        ("[source\n", "is not TOML"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "hardtack.toml"
    file.write_text(text)
    done = run("--config", file, "config", "show")
    assert done.returncode == 11
    assert said in done.stderr
    assert str(file) in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["mout"], 2, "Did you mean 'mount'?"),
        (["mount", "--cache-siez", "1"], 2, "--cache-size"),
        (["mount", "--cache-size", "lots", "s3://b", "/x"], 2, "Write it like 500MB or 10GiB"),
        (["mount"], 2, "MOUNTPOINT is missing"),
        (["unmount", "/"], 42, "not a hardtack mount"),
        (["health", "/"], 42, "not a hardtack mount"),
        (["status", "/"], 42, "not a hardtack mount"),
        (["--config", "/nowhere.toml", "version"], 11, "does not exist"),
        (
            ["images", "pull", "--lock", "/nowhere.lock", "--out", "/nonexistent/x"],
            51,
            "doesn't exist",
        ),
    ],
)
def test_wrong_use_says_what_to_do(words: list[str], code: int, said: str) -> None:
    done = run(*words)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert said in done.stderr


def test_version_says_where_it_runs() -> None:
    facts = json.loads(run("version", "--json").stdout)
    assert set(facts) == {"hardtack", "python", "kernel", "machine"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_one_line_to_paste(shell: str) -> None:
    done = run("completion", shell)
    assert f"_HARDTACK_COMPLETE={shell}_source" in done.stdout
    listed = run(env={"_HARDTACK_COMPLETE": f"{shell}_source"})
    assert listed.returncode == 0


def test_every_command_has_help() -> None:
    from hardtack.cli.main import COMMANDS

    for name in COMMANDS:
        done = run(name, "--help")
        assert done.returncode == 0, f"{name}: {done.stderr}"


def test_fstab_options_become_flags() -> None:
    line = [
        "s3://b/p",
        "/srv/models",
        "-n",
        "-o",
        "rw,nofail,x-systemd.automount,cache_size=4GiB,unsigned",
    ]
    assert arguments(line) == [
        "mount",
        "--cache-size=4GiB",
        "--unsigned",
        "s3://b/p",
        "/srv/models",
    ]
