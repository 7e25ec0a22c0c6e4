"""A source that fails on a script: delays, errors, broken, short and wrong bodies. For tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from hardtack.source.api import ByteStream, Checksum, ObjectInfo, Source


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with a call of `operation` (`pages`, `stream`, `checksum`).

    Before anything else: wait for `gate`, sleep `delay` seconds. Then, once `after` bytes (pages
    for `pages`) of this call have passed, raise `error`; or end as if that were all, with `end`.
    `flip` inverts the byte at this offset of the object. `key` narrows it to one object; it is
    used up after `times` calls (None: never).
    """

    operation: str = "stream"
    key: str | None = None
    times: int | None = 1
    delay: float = 0.0
    gate: threading.Event | None = None
    error: Exception | None = None
    end: bool = False
    after: int = 0
    flip: int | None = None


@dataclass(frozen=True)
class Call:
    """A call that reached the source; `start` and `stop` are 0 for anything but `stream`."""

    operation: str
    key: str = ""
    start: int = 0
    stop: int = 0


_NONE = Fault()


class ScriptedSource:
    """`inner` with faults. `calls` is what was asked of it, `served` the bytes that it gave."""

    def __init__(self, inner: Source, *faults: Fault) -> None:
        self.inner = inner
        self.calls: list[Call] = []
        self.served = 0
        self._lock = threading.Lock()
        self._script: list[tuple[Fault, int]] = []
        self.script(*faults)

    @property
    def url(self) -> str:
        return self.inner.url

    def script(self, *faults: Fault) -> None:
        """Replace what is left of the script; the first fault that fits a call is its fault."""
        with self._lock:
            self._script = [(fault, 0) for fault in faults]

    def pages(self) -> Iterator[Sequence[ObjectInfo]]:
        fault = self._begin(Call("pages"))
        count = -1
        for count, page in enumerate(self.inner.pages()):
            if _strikes(fault, count):
                return
            yield page
        _strikes(fault, count + 1)

    @contextmanager
    def stream(self, info: ObjectInfo, start: int, stop: int) -> Iterator[ByteStream]:
        fault = self._begin(Call("stream", info.key, start, stop))
        if fault.after == 0 and fault.error is not None:
            raise fault.error
        with self.inner.stream(info, start, stop) as inner:
            yield _ScriptedStream(self, inner, fault, start)

    def checksum(self, info: ObjectInfo) -> Checksum | None:
        fault = self._begin(Call("checksum", info.key))
        return None if _strikes(fault, 0) else self.inner.checksum(info)

    def close(self) -> None:
        self.inner.close()

    def count_served(self, count: int) -> None:
        with self._lock:
            self.served += count

    def _begin(self, call: Call) -> Fault:
        fault = self._next(call)
        if fault.gate is not None:
            fault.gate.wait()
        if fault.delay:
            time.sleep(fault.delay)
        return fault

    def _next(self, call: Call) -> Fault:
        with self._lock:
            self.calls.append(call)
            for i, (fault, used) in enumerate(self._script):
                fits = fault.operation == call.operation and fault.key in (None, call.key)
                if fits and (fault.times is None or used < fault.times):
                    self._script[i] = (fault, used + 1)
                    return fault
        return _NONE


class _ScriptedStream:
    def __init__(self, source: ScriptedSource, inner: ByteStream, fault: Fault, start: int) -> None:
        self._source, self._inner, self._fault, self._start = source, inner, fault, start
        self._done = 0

    def readinto(self, buffer: memoryview) -> int:
        fault = self._fault
        if _strikes(fault, self._done):
            return 0
        if fault.error is not None or fault.end:
            buffer = buffer[: fault.after - self._done]
        count = self._inner.readinto(buffer)
        if fault.flip is not None and 0 <= fault.flip - self._start - self._done < count:
            buffer[fault.flip - self._start - self._done] ^= 0xFF
        self._done += count
        self._source.count_served(count)
        return count


def _strikes(fault: Fault, done: int) -> bool:
    """Whether the call ends here as if it were complete; raises when it fails here."""
    if done < fault.after:
        return False
    if fault.error is not None:
        raise fault.error
    return fault.end
