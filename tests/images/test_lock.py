"""The lock: resolving, staying put, comparing, and what a hand may have done to the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hardtack.core.errors import AccessDenied, LockError, NotFound, RegistryError
from hardtack.images.lock import Step, Update, check, lock, wanted
from hardtack.images.lockfile import (
    Lock,
    LockedImage,
    names,
    parse_lock,
    read_lock,
    render_lock,
    write_lock,
)
from hardtack.images.platforms import Platform
from hardtack.images.registry import Registry
from hardtack.manifests.model import FoundImage, Kind, Scan
from hardtack.manifests.place import Place
from hardtack.manifests.reference import Reference
from tests.support import oci
from tests.support.registry import RegistryServer, registry

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
BY = ("a.yaml › Pod/x › containers[0]",)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


def an_image(content: str, platform: str = "linux/amd64") -> oci.Image:
    return oci.image([oci.layer({"f": content.encode()})], platform)


@pytest.mark.needs("registry")
def test_a_lock_stays_until_it_is_told_to_move(server: RegistryServer, tmp_path: Path) -> None:
    both = {"linux/amd64": an_image("1"), "linux/arm64": an_image("1", "linux/arm64")}
    first = server.push_index("move/app", "v1", both)
    images = {Reference.parse(f"{server.host}/move/app:v1"): BY}
    old = lock(images, [AMD64], Registry())
    assert old.images[0].digest == first
    second = server.push_index("move/app", "v1", {"linux/amd64": an_image("2")})
    assert lock(images, [AMD64], Registry(), old) == old
    # A platform that is added comes from the digest that is locked, not from where the tag is now.
    wider = lock(images, [AMD64, ARM64], Registry(), old)
    assert wider.images[0].digest == first
    assert wider.images[0].platforms["linux/arm64"].digest == both["linux/arm64"].digest
    assert lock(images, [AMD64], Registry(), old, Update.ALL).images[0].digest == second
    assert lock(images, [AMD64], Registry(), old, list(images)).images[0].digest == second
    with pytest.raises(NotFound, match=r"no image for linux/arm64; it has linux/amd64"):
        lock(images, [ARM64], Registry())
    write_lock(tmp_path / "images.lock", wider)
    assert read_lock(tmp_path / "images.lock") == wider


@pytest.mark.needs("registry")
def test_an_image_for_one_platform(server: RegistryServer) -> None:
    server.push("one/app", "v1", an_image("x", "linux/arm/v6"))
    images = {Reference.parse(f"{server.host}/one/app:v1"): BY}
    locked = lock(images, [Platform.parse("linux/arm/v7")], Registry())
    assert locked.images[0].platforms["linux/arm/v7"].digest == locked.images[0].digest
    with pytest.raises(NotFound, match=r"built for linux/arm/v6 only, not for linux/amd64"):
        lock(images, [AMD64], Registry())


@pytest.mark.needs("registry")
def test_an_unknown_tag_is_named(server: RegistryServer) -> None:
    with pytest.raises((NotFound, AccessDenied, RegistryError), match="no/such:v9"):
        lock({Reference.parse(f"{server.host}/no/such:v9"): BY}, [AMD64], Registry())


DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
GOOD = f"""version = 1
platforms = ["linux/amd64"]

[[image]]
name = "docker.io/library/alpine:3.20"
digest = "{DIGEST}"
found = ["a.yaml"]
[image.platforms]
"linux/amd64" = {{ digest = "{OTHER}", size = 5 }}
"""


def test_writing_what_was_read_changes_nothing() -> None:
    once = render_lock(parse_lock(GOOD, "images.lock"))
    assert render_lock(parse_lock(once, "images.lock")) == once


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version = 1", "version = 2", "has format 2; this hardtack knows up to 1"),
        ("version = 1", "", "no usable `version`"),
        ("[[image]]", "<<<<<<< HEAD\n[[image]]", r"images.lock:4: a merge conflict"),
        ("[[image]]", "[[image]", "not TOML"),
        (DIGEST, "sha256:12", "image 1 .alpine:3.20. has no usable `digest`"),
        ("size = 5", "size = -5", "linux/amd64 has no usable `size`"),
        ("alpine:3.20", "ALPINE:3.20", "image 1: .* is not an image reference"),
        ("alpine:3.20", f"alpine:3.20@{OTHER}", "is not the digest in its name"),
        ("found", "fuond", "a key that means nothing here: 'fuond'"),
        ('"linux/amd64" = {', '"linux" = {', "'linux' is not a platform"),
    ],
)
def test_a_lock_edited_by_hand(old: str, new: str, message: str) -> None:
    with pytest.raises(LockError, match=message):
        parse_lock(GOOD.replace(old, new, 1), "images.lock")


def test_the_same_image_twice() -> None:
    with pytest.raises(LockError, match=r"alpine:3.20 twice"):
        parse_lock(GOOD + GOOD[GOOD.index("[[image]]") :].replace("library/", ""), "images.lock")


def test_no_lock(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="doesn't exist"):
        read_lock(tmp_path / "images.lock")


def scan(*raw: str, kind: Kind = Kind.CONTAINER) -> Scan:
    place = Place(Path("/deploy/a.yaml"), 3)
    return Scan(tuple(FoundImage(r, Reference.parse(r), place, "Pod/x", kind) for r in raw))


def test_differences_name_each_side() -> None:
    locked = parse_lock(GOOD, "images.lock")
    root = Path("/deploy")
    assert check(locked, wanted(scan("alpine:3.20"), root)) == ()
    found = check(locked, wanted(scan("alpine:3.21", "busybox"), root))
    assert [(d.step, str(d.image)) for d in found] == [
        (Step.NOT_USED, "alpine:3.20"),
        (Step.NOT_LOCKED, "alpine:3.21"),
        (Step.NOT_LOCKED, "busybox"),
    ]
    assert "a.yaml › Pod/x; the lock has alpine:3.20" in found[1].detail
    short = check(locked, wanted(scan("alpine:3.20"), root), [ARM64])
    assert [d.step for d in short] == [Step.NO_PLATFORM]
    assert wanted(scan("golang:1.24", kind=Kind.DOCKERFILE), root) == {}


def test_a_tag_belongs_to_who_is_locked_by_it_alone() -> None:
    pinned = GOOD[GOOD.index("[[image]]") :].replace(":3.20", f":3.20@{DIGEST}")
    by_both = parse_lock(GOOD[: GOOD.index("[[image]]")] + pinned, "images.lock")
    repository = "docker.io/library/alpine"
    digests = (f"{repository}@{DIGEST}", f"{repository}@{OTHER}")
    assert set(names(by_both.images[0], AMD64, by_both)) == {f"{repository}:3.20", *digests}
    both: Lock = parse_lock(GOOD + pinned, "images.lock")
    claims = [f"{repository}:3.20" in names(i, AMD64, both) for i in both.images]
    assert claims == [True, False]


@pytest.mark.parametrize(
    ("text", "written", "accepts"),
    [
        ("linux/arm64/v8", "linux/arm64",
         ["linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm", "linux/arm/v7", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm/v6", "linux/arm/v6", ["linux/arm/v6", "linux/arm/v5"]),
        ("linux/x86_64", "linux/amd64", ["linux/amd64", "linux/386"]),
        ("linux/amd64/v3", "linux/amd64/v3",
         ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"]),
    ],
)  # fmt: skip
def test_platforms_match_as_containerd_does(text: str, written: str, accepts: list[str]) -> None:
    platform = Platform.parse(text)
    assert str(platform) == written
    assert [str(p) for p in platform.accepts()] == accepts


def test_a_manifest_whose_name_is_no_unicode_is_written_down(tmp_path: Path) -> None:
    place = Place(tmp_path / "bad\udcff.yaml", 1)
    image = Reference.parse("quay.io/a/b:1")
    named = FoundImage("quay.io/a/b:1", image, place, "Pod", Kind.CONTAINER)
    found = wanted(Scan((named,)), tmp_path)
    assert found == {image: ("bad\\udcff.yaml › Pod",)}
    locked = LockedImage(image, f"sha256:{64 * '0'}", {}, found[image])
    write_lock(tmp_path / "images.lock", Lock(("linux/amd64",), (locked,)))
    assert read_lock(tmp_path / "images.lock").images == (locked,)
