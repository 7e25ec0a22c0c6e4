"""The cache from a source's objects to a reader's bytes, online and offline."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hardtack.cache import background
from hardtack.cache.api import ROOT, State
from hardtack.cache.results import Damage, Refresh
from hardtack.core.errors import (
    CacheBusy,
    CorruptContent,
    NotFound,
    ObjectChanged,
    SourceUnreachable,
)
from hardtack.source.api import ByteStream, Checksum, ObjectInfo
from hardtack.source.memory import MemorySource
from hardtack.source.scripted import Fault, ScriptedSource
from tests.support.caches import SMALL, Answer, bytes_of, cut, find, opened, read, settle
from tests.support.waiting import until

DATA = bytes_of(50_000)


@pytest.fixture
def memory() -> MemorySource:
    source = MemorySource()
    source.put("models/a.bin", DATA)
    source.put("empty", b"")
    return source


@pytest.fixture
def source(memory: MemorySource) -> ScriptedSource:
    return ScriptedSource(memory)


def test_a_file_once_read_is_there_for_good(tmp_path: Path, source: ScriptedSource) -> None:
    with opened(tmp_path, source) as cache:
        assert not cache.has_listing()
        cache.refresh()
        entry = find(cache, "models/a.bin")
        assert cache.presence(entry).state is State.ABSENT
        assert cache.trusted_fd(entry) is None
        assert read(cache, entry) == DATA
        settle(cache, entry)
        assert cache.presence(entry).state is State.COMPLETE
    with cut(source), opened(tmp_path, source) as cache:
        assert cache.has_listing()
        entry = find(cache, "models/a.bin")
        assert read(cache, entry, 100, 5000) == DATA[100:5100]
        fd = cache.trusted_fd(entry)
        assert fd is not None
        with os.fdopen(fd, "rb") as file:
            assert file.read() == DATA


def test_ends_of_files(tmp_path: Path, source: ScriptedSource) -> None:
    with opened(tmp_path, source) as cache:
        cache.refresh()
        entry = find(cache, "models/a.bin")
        assert read(cache, entry, 49_990, 100) == DATA[-10:]
        assert read(cache, entry, 50_000, 100) == b""
        assert read(cache, entry, 60_000, 100) == b""
        empty = find(cache, "empty")
        assert read(cache, empty, 0, 10) == b""
        settle(cache, empty)
        fd = cache.trusted_fd(empty)
        assert fd is not None
        os.close(fd)


def test_readers_of_one_object_share_its_download(tmp_path: Path, source: ScriptedSource) -> None:
    """§ 4.4."""
    with opened(tmp_path, source) as cache:
        cache.refresh()
        entry = find(cache, "models/a.bin")
        answers = [Answer() for _ in range(8 * 13)]
        for i, answer in enumerate(answers):
            cache.read(entry, (i // 8) * 4000, 4000, answer)
        for i, answer in enumerate(answers):
            assert answer.result() == DATA[(i // 8) * 4000 : (i // 8) * 4000 + 4000]
            assert answer.count == 1
        assert source.served == len(DATA)


def test_random_reads_fetch_their_chunks_alone(tmp_path: Path, source: ScriptedSource) -> None:
    with opened(tmp_path, source) as cache:
        cache.refresh()
        entry = find(cache, "models/a.bin")
        for chunk in (9, 2, 6):
            assert read(cache, entry, chunk * 4096 + 7, 10) == DATA[chunk * 4096 + 7 :][:10]
        assert source.served == 3 * 4096


def test_absent_offline_fails_at_once_and_comes_back(
    tmp_path: Path, source: ScriptedSource
) -> None:
    """§ 3.2."""
    with opened(tmp_path, source) as cache:
        cache.refresh()
        entry = find(cache, "models/a.bin")
        with cut(source):
            with pytest.raises(SourceUnreachable):
                read(cache, entry)
            id = cache.content(entry).id
            until(lambda: not cache.downloader.busy(id))  # its other requests have failed too
            asked = len(source.calls)
            with pytest.raises(SourceUnreachable):
                read(cache, entry)
            assert len(source.calls) == asked  # refused here, nobody was asked
        cache.refresh()
        assert read(cache, entry) == DATA


def test_an_open_handle_keeps_what_it_has(
    tmp_path: Path, source: ScriptedSource, memory: MemorySource
) -> None:
    with opened(tmp_path, source) as cache:
        cache.refresh()
        old = find(cache, "models/a.bin")
        cache.hold(old.id)
        assert read(cache, old, 0, 10) == DATA[:10]
        new = bytes_of(30_000, seed=1)
        memory.put("models/a.bin", new)
        with pytest.raises(ObjectChanged):
            read(cache, old, 40_000, 10)
        changed: list[tuple[int, str]] = []
        cache.on_invalidate(changed.extend)
        result = cache.refresh()
        assert (result.added, result.removed) == (1, 1)
        assert changed == [(old.parent, "a.bin")]
        assert read(cache, old, 5, 10) == DATA[5:15]
        young = find(cache, "models/a.bin")
        assert young.id != old.id
        assert read(cache, young) == new
        cache.drop(old.id)


@pytest.mark.parametrize("offset", [0, 4095, 4096, 49_999])
def test_a_flipped_byte_is_fetched_anew(
    tmp_path: Path, source: ScriptedSource, offset: int
) -> None:
    with opened(tmp_path, source) as cache:
        cache.refresh()
        entry = find(cache, "models/a.bin")
        cache.prefetch([])
        path = cache.content(entry).path
    flip(path, offset)
    with opened(tmp_path, source) as cache:
        entry = find(cache, "models/a.bin")
        assert cache.trusted_fd(entry) is None
        with cut(source), pytest.raises(CorruptContent, match=r"models/a\.bin"):
            read(cache, entry, offset, 1)
        cache.refresh()
        assert read(cache, entry) == DATA
        settle(cache, entry)
        fd = cache.trusted_fd(entry)
        assert fd is not None
        os.close(fd)


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


def test_a_truncated_content_is_filled_again(tmp_path: Path, source: ScriptedSource) -> None:
    with opened(tmp_path, source) as cache:
        cache.refresh()
        entry = find(cache, "models/a.bin")
        cache.prefetch([])
        os.truncate(cache.content(entry).path, 10_000)
        assert read(cache, entry) == DATA


def test_a_lost_map_costs_nothing_while_the_seal_holds(
    tmp_path: Path, source: ScriptedSource
) -> None:
    with opened(tmp_path, source) as cache:
        cache.refresh()
        cache.prefetch([])
        path = cache.content(find(cache, "models/a.bin")).path
    path.with_suffix(".map").unlink()
    with cut(source), opened(tmp_path, source) as cache:
        assert read(cache, find(cache, "models/a.bin")) == DATA


def test_verify_finds_and_repairs(tmp_path: Path, source: ScriptedSource) -> None:
    with opened(tmp_path, source) as cache:
        cache.refresh()
        cache.prefetch([])
        flip(cache.content(find(cache, "models/a.bin")).path, 5000)
        found = cache.verify(repair=False)
        assert [(d.path, d.chunk, d.repaired) for d in found.bad] == [("models/a.bin", 1, False)]
    for _ in range(2):  # the hole stays, and is told, until it is fetched
        with opened(tmp_path, source) as cache:
            assert cache.verify(repair=False).bad == (Damage("models/a.bin", -1, False, 1),)
    with opened(tmp_path, source) as cache:
        with cut(source):
            assert cache.verify(repair=True).bad == (Damage("models/a.bin", -1, False, 1),)
        cache.refresh()
        assert cache.verify(repair=True).bad == (Damage("models/a.bin", -1, True, 1),)
        assert cache.verify(repair=False).bad == ()
        assert cache.presence(find(cache, "models/a.bin")).state is State.COMPLETE
        flip(cache.content(find(cache, "models/a.bin")).path, 9000)
        assert [d.repaired for d in cache.verify(repair=True).bad] == [True]
        assert read(cache, find(cache, "models/a.bin")) == DATA


def test_verify_vouches_again_for_a_file_that_was_touched_while_it_was_open(
    tmp_path: Path, source: ScriptedSource
) -> None:
    with opened(tmp_path, source) as cache:
        cache.refresh()
        entry = find(cache, "models/a.bin")
        assert read(cache, entry) == DATA
        settle(cache, entry)

        def verified() -> bool:
            (file,) = cache.survey(["models/a.bin"])
            return file.verified

        until(verified)
        os.utime(cache.content(entry).path)
        assert not verified()
        assert cache.verify(repair=False).bad == ()
        until(verified)


def test_verify_counts_what_it_read(tmp_path: Path, source: ScriptedSource) -> None:
    """A disk that is full may have kept the index from learning what is there."""
    with opened(tmp_path, source) as cache:
        cache.refresh()
        cache.prefetch(["models/a.bin"])
        entry = find(cache, "models/a.bin")
        settle(cache, entry)
        cache.store.index.present(cache.content(entry).id, 0)
        assert cache.verify(repair=False).bytes == len(DATA)


def test_damage_of_what_the_source_has_replaced_goes_with_it(
    tmp_path: Path, source: ScriptedSource, memory: MemorySource
) -> None:
    """Nobody can mend it. It stays while a release keeps it, or while the source can't say so."""
    with opened(tmp_path, source) as cache:
        cache.refresh()
        cache.prefetch([])
        cache.pin("one")
        flip(cache.content(find(cache, "models/a.bin")).path, 5000)
        memory.put("models/a.bin", DATA[::-1])
        kept = replace(Damage("models/a.bin", 1, False), kept="one")
        assert cache.verify(repair=True).bad == (kept,)
        kept = Damage("models/a.bin", -1, False, 1, kept="one")
        assert cache.verify(repair=False).bad == (kept,)
        cache.unpin("one")
        with cut(source):
            assert cache.verify(repair=True).bad == (Damage("models/a.bin", -1, False, 1),)
        assert cache.verify(repair=False).bad == (Damage("models/a.bin", -1, False, 1),)
        assert cache.verify(repair=True).bad == (Damage("models/a.bin", -1, False, 1, True),)
        assert cache.verify(repair=False).bad == ()
        assert read(cache, find(cache, "models/a.bin")) == DATA[::-1]


def test_what_a_release_lost_is_mended_by_the_old_object_alone(
    tmp_path: Path, source: ScriptedSource, memory: MemorySource
) -> None:
    with opened(tmp_path, source) as cache:
        cache.refresh()
        cache.prefetch([])
        cache.pin("one")
        cache.pin("two")
        settle(cache, find(cache, "models/a.bin"))  # or the seal finds what is flipped below
        flip(cache.content(find(cache, "models/a.bin")).path, 5000)
        memory.put("models/a.bin", DATA[::-1])
        (found,) = cache.verify(repair=True).bad
        assert (found.kept, found.repaired) == ("one, two", False)
        memory.put("models/a.bin", DATA)
        (found,) = cache.verify(repair=True).bad
        assert (found.kept, found.repaired) == ("", True)
        assert cache.verify(repair=False).bad == ()


def test_what_a_sealed_file_lost_is_told_until_it_is_fetched(
    tmp_path: Path, source: ScriptedSource
) -> None:
    with opened(tmp_path, source) as cache:
        cache.refresh()
        cache.prefetch([])
        path = cache.content(find(cache, "models/a.bin")).path
    path.with_suffix(".map").unlink()
    os.utime(path)
    for _ in range(2):
        with opened(tmp_path, source) as cache:
            assert cache.verify(repair=False).bad == (Damage("models/a.bin", -1, False, 13),)
    with opened(tmp_path, source) as cache:
        assert cache.verify(repair=True).bad == (Damage("models/a.bin", -1, True, 13),)
        assert read(cache, find(cache, "models/a.bin")) == DATA
    with opened(tmp_path, source) as cache:
        assert cache.verify(repair=False).bad == ()


def test_a_file_that_was_never_whole_is_no_damage(tmp_path: Path, source: ScriptedSource) -> None:
    with opened(tmp_path, source) as cache:
        cache.refresh()
        read(cache, find(cache, "models/a.bin"), 9000, 10)
        assert cache.verify(repair=True).bad == ()
        assert source.served == 4096


def test_releases_stay_and_are_rolled_back_to_offline(
    tmp_path: Path, source: ScriptedSource, memory: MemorySource
) -> None:
    with opened(tmp_path, source) as cache:
        cache.refresh()
        assert cache.pin("one").generation == 1
        cache.prefetch([], release="one")
        memory.put("models/a.bin", b"new")
        cache.refresh()
        cache.prefetch([])
        assert cache.evict([]).kept == 2  # a.bin of the release, and the empty file
        (release,) = cache.releases()
        assert release.present_bytes == release.bytes == len(DATA)
    with cut(source):
        follow = replace(SMALL, follow="release one")
        with opened(tmp_path, source, follow) as cache:
            assert read(cache, find(cache, "models/a.bin")) == DATA


def test_a_frozen_view_stays(tmp_path: Path, source: ScriptedSource, memory: MemorySource) -> None:
    """§ 1.2: with `frozen` it never moves, also when it is told to look, also after a restart."""
    frozen = replace(SMALL, follow="frozen")
    for again in (False, True):
        with opened(tmp_path, source, frozen) as cache:
            assert cache.refresh().frozen is again  # the first listing is fetched
            memory.put("models/new.bin", DATA)
            assert cache.refresh() == Refresh(1, 0, 0, (), 0, frozen=True)
            assert read(cache, find(cache, "models/a.bin")) == DATA
            models = cache.lookup(ROOT, "models")
            assert models is not None
            assert cache.lookup(models.id, "new.bin") is None


def test_a_second_owner_is_refused_by_name(tmp_path: Path, source: ScriptedSource) -> None:
    code = (
        "import sys, pathlib\n"
        "from hardtack.cache.owner import Owner\n"
        "owner = Owner(pathlib.Path(sys.argv[1]), 'a mount')\n"
        "print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(CacheBusy, match=rf"process {other.pid} \(a mount\)"):
            opened(tmp_path, source).__enter__()
        other.communicate()
    with opened(tmp_path, source):
        pass


def test_an_etag_that_is_no_md5_is_learnt(tmp_path: Path, memory: MemorySource) -> None:
    memory.put("kms", DATA, etag="0" * 32)
    with opened(tmp_path, memory) as cache:
        cache.refresh()
        assert cache.prefetch(["kms"]).failed == ()
        assert not cache.store.index.etags_are_md5(memory.url)


def test_wrong_bytes_for_a_right_etag_are_not_kept(tmp_path: Path, source: ScriptedSource) -> None:
    source.script(Fault(flip=4100, times=1, key="models/a.bin"))
    with opened(tmp_path, source) as cache:
        cache.refresh()
        entry = find(cache, "models/a.bin")
        assert cache.prefetch(["models"]).failed
        assert cache.trusted_fd(entry) is None
        assert cache.prefetch(["models"]).failed == ()
        assert read(cache, entry) == DATA


def test_prefetch_resumes_at_the_byte_where_it_broke_off(
    tmp_path: Path, source: ScriptedSource
) -> None:
    with opened(tmp_path, source) as cache:
        cache.refresh()
        source.script(Fault(after=9000, times=None, error=SourceUnreachable("cut")))
        assert [path for path, _ in cache.prefetch(["models"]).failed] == ["models/a.bin"]
        assert cache.presence(find(cache, "models/a.bin")).present >= 8192
        had = source.served
        assert had % 4096
        source.script()
        done = cache.prefetch(["models/*"])
        assert (done.files, done.bytes, done.fetched_bytes) == (1, 50_000, 50_000 - had)
        assert read(cache, find(cache, "models/a.bin")) == DATA
        done = cache.prefetch(["nothing*"])
        assert done.exit_code == NotFound.exit_code
        assert dict(done.failed)["nothing*"].startswith("no file has this name.")


def test_export_writes_plain_files(
    tmp_path: Path, source: ScriptedSource, memory: MemorySource
) -> None:
    memory.put("models/link.rclonelink", b"a.bin")
    with opened(tmp_path / "cache", source) as cache:
        cache.refresh()
        done = cache.export([], tmp_path / "out")
        assert done.failed == ()
        assert (tmp_path / "out/models/a.bin").read_bytes() == DATA
        assert (tmp_path / "out/models/link").read_bytes() == DATA
        served = source.served
        assert cache.export([], tmp_path / "out").failed == ()
        assert source.served == served
        fd = cache.trusted_fd(find(cache, "models/a.bin"))
        assert fd is not None
        os.close(fd)


@pytest.mark.parametrize("online", [True, False])
def test_the_scrub_finds_damage_and_mends_it_where_it_can(
    tmp_path: Path, source: ScriptedSource, monkeypatch: pytest.MonkeyPatch, online: bool
) -> None:
    monkeypatch.setattr(background, "SCRUB_PAUSE", 0.5)
    with opened(tmp_path, source) as cache:
        cache.refresh()
        cache.prefetch([])
        path = cache.content(find(cache, "models/a.bin")).path
    flip(path, 5000)
    follow = replace(SMALL, scrub_rate=1 << 30, refresh_interval=0.05)
    with contextlib.ExitStack() as network:
        if not online:
            network.enter_context(cut(source))
        with opened(tmp_path, source, follow) as cache:
            with contextlib.suppress(SourceUnreachable):
                cache.refresh()
            cache.start()
            until(lambda: cache.counters.bad_chunks == 1)
            if online:
                until(lambda: path.read_bytes() == DATA)
                assert cache.verify(repair=False).bad == ()
            else:
                assert find(cache, "models/a.bin").size == len(DATA)
                bad = cache.verify(repair=False).bad
                assert bad == (Damage("models/a.bin", -1, False, 1),)


class Vast:
    """One object of 5 TiB, whose bytes say where they are."""

    url = "vast://one"
    info = ObjectInfo("vast.bin", 5 << 40, "e" * 32 + "-9", 1)

    def pages(self) -> Iterator[Sequence[ObjectInfo]]:
        yield [self.info]

    @contextmanager
    def stream(self, info: ObjectInfo, start: int, stop: int) -> Iterator[ByteStream]:
        body = b"".join(n.to_bytes(8, "big") for n in range(start // 8, -(-stop // 8)))
        yield io.BytesIO(body[start % 8 :][: stop - start])

    def checksum(self, info: ObjectInfo) -> Checksum | None:
        return None

    def close(self) -> None: ...


def test_an_object_of_5_tib_takes_the_place_of_what_was_read(tmp_path: Path) -> None:
    """§ 6.2."""
    source = Vast()
    with opened(tmp_path, source, replace(SMALL, chunk_size=1 << 20)) as cache:
        cache.refresh()
        entry = find(cache, "vast.bin")
        for offset in (0, (1 << 42) + 4, (5 << 40) - 16):
            first = offset // 8
            told = b"".join(n.to_bytes(8, "big") for n in range(first, first + 3))
            expected = told[offset % 8 :][: min(16, source.info.size - offset)]
            assert read(cache, entry, offset, 16) == expected
        cache.store.flush()
        found = cache.content(entry).path.stat()
        assert found.st_size == source.info.size
        assert found.st_blocks * 512 <= 32 << 20
