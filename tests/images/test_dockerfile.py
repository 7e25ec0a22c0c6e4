"""The preloader stage: between its markers, from one lock, failing hard."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardtack.core.errors import LockError, ManifestError
from hardtack.images.dockerfile import applied, check, find_stage, render, write
from hardtack.images.lockfile import Lock, LockedImage, LockedPlatform, read_lock, write_lock
from hardtack.images.platforms import Platform
from hardtack.manifests.dockerfile import instructions
from hardtack.manifests.reference import Reference
from tests.support.commands import run

ARM = Platform.parse("linux/arm64")
DOCKERFILE = """\
FROM python:3.12-slim AS hardtack
# hardtack: preload platform=linux/arm64
# hardtack: preload begin
# hardtack: preload end
FROM scratch
COPY --from=preload /preload/images /images
"""


def locked(*names: str, platforms: tuple[str, ...] = ("linux/amd64", "linux/arm64")) -> Lock:
    images = tuple(
        LockedImage(
            Reference.parse(name),
            f"sha256:{number:064x}",
            {
                p: LockedPlatform(f"sha256:{number * 100 + i:064x}", 7)
                for i, p in enumerate(platforms)
            },
            ("pod.yaml › Pod/it › containers[0]",),
        )
        for number, name in enumerate(names, 1)
    )
    return Lock(platforms, images)


LOCK = locked("alpine:3.20", "quay.io/cameras/server:1.4.2")


def test_the_stage_stands_between_the_markers_and_all_else_stays() -> None:
    made = applied(DOCKERFILE, "Dockerfile", LOCK)
    before, after = DOCKERFILE.split("# hardtack: preload end\n")
    assert made.startswith(before)
    assert made.endswith("# hardtack: preload end\n" + after)
    assert "FROM hardtack AS preload\n" in made
    for image in LOCK.images:
        assert f"#   {image.reference.familiar} {image.at(ARM).digest}\n" in made
    assert "|| true" not in made
    assert applied(made, "Dockerfile", LOCK) == made


def test_line_endings_stay() -> None:
    made = applied(DOCKERFILE.replace("\n", "\r\n"), "Dockerfile", LOCK)
    assert made.replace("\r\n", "\n") == applied(DOCKERFILE, "Dockerfile", LOCK)
    assert "\n" not in made.replace("\r\n", "")


@pytest.mark.parametrize("code", [0, 7])
def test_the_stage_runs_as_shell_and_fails_when_the_pull_does(tmp_path: Path, code: int) -> None:
    stage = render(LOCK, ARM)
    command = next(rest for _, name, rest in instructions(stage) if name == "RUN")
    stub = tmp_path / "hardtack"
    stub.write_text(f'#!/bin/sh\necho "$@"\nexit {code}\n')
    stub.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", command.replace("/preload", str(tmp_path / "preload"))],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "images pull --lock" in done.stdout
    assert "--platform linux/arm64" in done.stdout
    there = read_lock(tmp_path / "preload" / "images.lock")
    assert there.platforms == ("linux/arm64",)
    assert [(i.reference, i.digest, i.at(ARM)) for i in there.images] == [
        (i.reference, i.digest, i.at(ARM)) for i in LOCK.images
    ]


def test_the_base_is_told_by_the_marker() -> None:
    text = DOCKERFILE.replace("linux/arm64", "linux/arm64 from=registry.example/hardtack:1.2", 1)
    assert "FROM registry.example/hardtack:1.2 AS preload" in applied(text, "Dockerfile", LOCK)


def test_an_image_that_is_not_locked_for_the_platform_is_an_error() -> None:
    with pytest.raises(LockError, match=r"alpine:3\.20 for linux/amd64, not for linux/arm64"):
        render(locked("alpine:3.20", platforms=("linux/amd64",)), ARM)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM scratch\n", "no `begin` marker"),
        ("# hardtack: preload begin platform=linux/arm64\n", "no `end` marker"),
        (DOCKERFILE.replace("linux/arm64", "arm"), ":3: 'arm' is not a platform"),
        (DOCKERFILE.replace("platform=linux/arm64", ""), ":3: no marker says the platform"),
        (DOCKERFILE.replace("preload end", "preload begin"), ":4: a second `begin`"),
        (DOCKERFILE.replace("platform=", "plattform="), ":2: 'plattform=linux/arm64' means"),
        (DOCKERFILE.replace("arm64", "arm64 from=$(id)"), ":3: .* is no image"),
        (
            "# hardtack: preload end platform=linux/arm64\n# hardtack: preload begin\n",
            ":1: the `end` marker stands before",
        ),
    ],
)
def test_wrong_markers_are_named(text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        find_stage(text, "Dockerfile")


def test_many_dockerfiles_one_lock(tmp_path: Path) -> None:
    files = [tmp_path / f"Dockerfile.{name}" for name in ("cpu", "jetson")]
    files[0].write_text(DOCKERFILE.replace("arm64", "amd64"))
    files[1].write_text(DOCKERFILE)
    assert [difference.file for difference in check(files, LOCK)] == files
    assert write(files, LOCK) == tuple(files)
    assert not check(files, LOCK)
    assert not write(files, LOCK)
    assert "--platform linux/amd64" in files[0].read_text()

    newer = locked("alpine:3.20", "quay.io/cameras/server:1.5.0")
    found = check(files, newer)
    assert [(difference.file, difference.line) for difference in found] == [(f, 3) for f in files]
    assert any(line.startswith("-#   quay.io/cameras/server:1.4.2") for line in found[0].lines)
    assert any(line.startswith("+#   quay.io/cameras/server:1.5.0") for line in found[0].lines)


def test_nothing_is_written_when_one_file_is_wrong(tmp_path: Path) -> None:
    good, bad = tmp_path / "Dockerfile.good", tmp_path / "Dockerfile.bad"
    good.write_text(DOCKERFILE)
    bad.write_text("FROM scratch\n")
    with pytest.raises(ManifestError, match=r"Dockerfile\.bad"):
        write([good, bad], LOCK)
    assert good.read_text() == DOCKERFILE


def test_the_command(tmp_path: Path) -> None:
    file, lock = tmp_path / "Dockerfile", tmp_path / "images.lock"
    file.write_text(DOCKERFILE)
    write_lock(lock, LOCK)
    command = ("images", "dockerfile", file, "--lock", lock)
    stale = run(*command, "--check")
    assert stale.returncode == 1, stale.stderr
    assert f"{file}:3: not what" in stale.stdout
    assert file.read_text() == DOCKERFILE
    assert run(*command).returncode == 0
    assert file.read_text() == applied(DOCKERFILE, "Dockerfile", LOCK)
    fresh = run(*command, "--check", "--json")
    assert fresh.returncode == 0, fresh.stdout
    assert json.loads(fresh.stdout) == {"differences": []}


@given(st.text(alphabet="# hardtack:preloadbeginend=linux/arm64\r\n", max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        stage = find_stage(text, "Dockerfile")
    except ManifestError:
        return
    assert stage.begin < stage.end
