"""The memory that outlives a worker, without a kernel at its other end."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterator

import pytest

from hardtack.mount import shared, wire
from hardtack.mount.shared import Mode, RequestSlots, Shared


@pytest.fixture
def memory() -> Iterator[int]:
    fd = shared.create()
    yield fd
    os.close(fd)


def put(buffer: memoryview, unique: int) -> None:
    wire.IN_HEADER.pack_into(buffer, 0, 40, wire.Op.READ, unique, 1, 0, 0, 0, 0, 0)


def test_requests_outlive_a_worker_until_they_are_answered(memory: int) -> None:
    slots = RequestSlots(Shared(memory))
    for unique in (2, 4, 6):
        put(slots.take(), unique)
        slots.holds(unique)
    slots.answered(4)
    put(slots.take(), 8)  # a worker that dies before it takes note of what it has read
    for _ in range(2):
        later = RequestSlots(Shared(memory))
        assert sorted(wire.parse(left).unique for left in later.unanswered()) == [2, 6, 8]
    for unique in (2, 6, 8):
        later.answered(unique)
    assert RequestSlots(Shared(memory)).unanswered() == []


def test_no_slot_is_lost_to_reads_without_a_request(memory: int) -> None:
    slots = RequestSlots(Shared(memory))

    def take_and_give_back() -> None:
        for _ in range(shared.SLOTS * 2):
            slots.take()
            slots.give_back()

    threads = [threading.Thread(target=take_and_give_back, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    starts = set()
    for unique in range(shared.SLOTS):
        buffer = slots.take()
        put(buffer, unique + 1)
        slots.holds(unique + 1)
        starts.add(unique)
    assert len(Shared(memory).filled_slots()) == len(starts) == shared.SLOTS


def test_looking_for_requests_takes_no_memory(memory: int) -> None:
    slots = RequestSlots(Shared(memory))
    put(slots.take(), 2)
    used = os.fstat(memory).st_blocks * 512
    assert len(RequestSlots(Shared(memory)).unanswered()) == 1
    assert os.fstat(memory).st_blocks * 512 == used < 8 * mmap.PAGESIZE


@pytest.mark.parametrize("page", [4 << 10, 16 << 10, 64 << 10])
def test_every_page_of_a_slot_is_there_before_a_request_is(
    memory: int, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page that a slot touches is written to, where slots straddle pages too (arm64)."""
    monkeypatch.setattr(mmap, "PAGESIZE", page)
    slots = RequestSlots(Shared(memory))
    for index in range(page // wire.READ_BUFFER + 1):
        start = shared.SIZE - (shared.SLOTS - index) * wire.READ_BUFFER
        stop = start + wire.READ_BUFFER
        os.pwrite(memory, b"\1" * (wire.READ_BUFFER - 4), start + 4)
        slots.take()
        slot = os.pread(memory, wire.READ_BUFFER, start)
        written = {(start + at) // page for at, byte in enumerate(slot) if at >= 4 and byte == 0}
        assert written == set(range(start // page, -(-stop // page)))


def test_handles_outlive_a_worker(memory: int) -> None:
    before = Shared(memory)
    first = before.add(Mode.CACHED, 7, 10, 0)
    second = before.add(Mode.PASSTHROUGH, 1 << 40, 1 << 50, 3)
    assert first is not None and second is not None
    after = Shared(memory)
    assert list(after.handles()) == [first, second]
    assert after.remove(first.id) == first
    again = after.add(Mode.CACHED, 8, 12, 0)
    assert again is not None and again.id != first.id
    assert after.remove(first.id) is None
    assert list(Shared(memory).handles()) == [again, second]
