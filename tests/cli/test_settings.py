"""Flags over environment over hardtack.toml, and messages that say what to do."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from hardtack.cli.mount_helper import arguments
from hardtack.cli.options import SETTING_GROUPS, parameters
from tests.support.commands import HARDTACK, clean_environment, run
from tests.support.others import as_other


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


_WRITTEN = {
    "size": "2GiB", "rate": "2GiB", "duration": "7s", "integer": "7", "integer range": "7",
    "mode": "440", "follow": "frozen", "address": "127.0.0.1:9", "choice": "instance",
    "directory": "/srv/x", "text": "http://127.0.0.1:1",
}  # fmt: skip
"""A value of each type of setting that is no default."""


def test_every_setting_is_taken_from_the_environment_and_the_file(tmp_path: Path) -> None:
    options = {g: parameters(decorators) for g, decorators in SETTING_GROUPS.items()}
    env, lines = {}, []
    for group, found in options.items():
        lines.append(f"[{group}]")
        for one in found:
            text = "true" if one.is_flag else _WRITTEN[one.type.name]
            assert isinstance(one.envvar, list)
            env[one.envvar[0]] = text
            key = one.opts[0].lstrip("-").replace("-", "_")
            lines.append(f"{key} = {text if text in ('true', '7') else json.dumps(text)}")
    file, nothing = tmp_path / "hardtack.toml", tmp_path / "empty.toml"
    file.write_text("\n".join(lines))
    nothing.touch()
    by_env, by_file = shown(env=env, config=nothing), shown(config=file)
    assert len(by_env) == len(env)
    for name, (value, origin) in by_env.items():
        assert origin.startswith("environment HARDTACK_"), name
        assert by_file[name] == (value, str(file)), name


def test_the_environment_of_sidecars_is_understood(config: Path) -> None:
    env = {"S3_REGION": "eu-north-1", "CACHE_PATH": "/somewhere"}
    found = shown(env=env, config=config)
    assert found["region"] == ("eu-north-1", "environment S3_REGION")
    assert found["cache_directory"] == ("/somewhere", "environment CACHE_PATH")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[source]\n# a note\nregoin = 'x'\n", "hardtack.toml:3: unknown setting 'regoin'"),
        ("[source]\nregoin = 'x'\n", "Did you mean 'region'?"),
        ("[cache]\nconnections = 3\n\n[chache]\na = 1\n", "hardtack.toml:4: unknown table or key"),
        ("[chache]\na = 1\n", "Did you mean 'cache'?"),
        ("[source\n", "is not TOML"),
        ("[cache]\ncache_size = 'lots'\n", "hardtack.toml:2: cache_size: 'lots' is not a size."),
        ("[mount]\n\nuid = 'root'\n", "hardtack.toml:3: uid: 'root' is not a valid integer."),
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
        (["inference", "serve", "--batch-window", "5", "--model", "/x"], 2, "usual: 5ms"),
        (["unmount", "/"], 42, "not a hardtack mount"),
        (["health", "/"], 42, "not a hardtack mount"),
        (["status", "/"], 42, "not a hardtack mount"),
        (["status", "s3://nowhere"], 42, "hardtack mount s3://nowhere MOUNTPOINT"),
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


def test_a_key_is_an_options_long_name(tmp_path: Path) -> None:
    file = tmp_path / "hardtack.toml"
    file.write_text('[cache]\ncache = "/srv/cache"\n[mount]\nmetrics = "127.0.0.1:9400"\n')
    found = shown(config=file)
    assert found["cache_directory"] == ("/srv/cache", str(file))
    assert found["metrics_address"] == ("127.0.0.1:9400", str(file))


@pytest.mark.needs("root")
def test_homes_that_are_anothers_or_not_there(tmp_path: Path) -> None:
    """A file that can't be looked at is none; a cache has to lie somewhere."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (tmp_path / "bucket").mkdir()
    env = clean_environment({"HOME": str(home)})
    done = subprocess.run(
        as_other(12345, *HARDTACK, "config", "show"),
        env=env, cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    del env["HOME"]
    done = subprocess.run(
        as_other(12345, *HARDTACK, "prefetch", f"file://{tmp_path}/bucket"),
        env=env, cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 11 and "--cache" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_version_says_where_it_runs() -> None:
    facts = json.loads(run("version", "--json").stdout)
    assert set(facts) == {"hardtack", "python", "kernel", "machine"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_one_line_to_paste(shell: str) -> None:
    done = run("completion", shell)
    assert f"_HARDTACK_COMPLETE={shell}_source" in done.stdout
    listed = run(env={"_HARDTACK_COMPLETE": f"{shell}_source"})
    assert listed.returncode == 0


def test_completion_completes() -> None:
    words = {"_HARDTACK_COMPLETE": "bash_complete", "COMP_CWORD": "1"}
    assert "plain,unmount" in run(env=words | {"COMP_WORDS": "hardtack un"}).stdout
    words["COMP_CWORD"] = "2"
    found = run(env=words | {"COMP_WORDS": "hardtack mount --cache-"}).stdout.split()
    assert found == ["plain,--cache-size"]


def test_every_command_has_help() -> None:
    from hardtack.cli.main import COMMANDS

    for name in COMMANDS:
        done = run(name, "--help")
        assert done.returncode == 0, f"{name}: {done.stderr}"


def test_every_command_ends_its_help_with_an_example_that_parses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hardtack.cli.examples import EXAMPLES
    from hardtack.cli.main import COMMANDS, SECTIONS, hardtack

    monkeypatch.chdir(tmp_path)
    for name in ("charts", "bundles"):
        (tmp_path / name).mkdir()
    for name in ("Dockerfile", "values.yaml", "picture.png", "defect.onnx", "images.lock"):
        (tmp_path / name).touch()
    assert sorted(name for names in SECTIONS.values() for name in names) == sorted(COMMANDS)
    shown = []
    for path, command, ctx in _leaves(hardtack, click.Context(hardtack, info_name="hardtack")):
        assert EXAMPLES[path] in command.get_help(ctx), path
        words = shlex.split(EXAMPLES[path].partition(" >> ")[0])
        assert words[: 1 + len(path.split())] == ["hardtack", *path.split()]
        command.make_context(path, words[1 + len(path.split()) :])  # raises what typing it would
        shown.append(path)
    assert sorted(shown) == sorted(EXAMPLES)


def _leaves(
    group: click.Group, ctx: click.Context, *before: str
) -> Iterator[tuple[str, click.Command, click.Context]]:
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        child = click.Context(command, info_name=name, parent=ctx)
        if isinstance(command, click.Group):
            yield from _leaves(command, child, *before, name)
        else:
            yield " ".join([*before, name]), command, child


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


def test_what_mount_8_itself_means_is_not_handed_on() -> None:
    own = "defaults,nodiratime,strictatime,nouser,lazytime,X-mount.mkdir,comment=the models,user=me"
    called = arguments(["s3://b", "/srv", "-sv", "-o", f"{own},virtual_host,no-wait"])
    assert called == ["mount", "--virtual-host", "--no-wait", "s3://b", "/srv"]
    assert arguments(["s3://b", "/srv", "-f", "-o", "ro"]) == []
    assert arguments(["s3://b", "/srv", "-sfnv"]) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "a line of /etc/fstab like"),
        ("s3://b", "found s3://b"),
        ("s3://b /srv -o remount,ro", "unmount, and mount anew"),
        ("s3://b /srv -o cache_sise=3", "cache_sise is not one of a hardtack mount."),
        ("s3://b /srv -o cache_sise=3", "Did you mean 'cache_size'?"),
        ("s3://b /srv -o help", "help is not one"),
        ("s3://b /srv -o foreground", "foreground is not one"),
        ("s3://b /srv -o uid", "expected uid=VALUE"),
        ("s3://b /srv -o unsigned=yes", "expected unsigned alone"),
        ("s3://b /srv -f -o nonsense", "nonsense is not one"),
    ],
)
def test_a_wrong_line_of_fstab_is_told_in_its_own_words(line: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        arguments(line.split())
    assert said in str(caught.value)
