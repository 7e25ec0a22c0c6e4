"""The bytes of one range of an object in a store; a body that breaks off goes on where it broke."""

from __future__ import annotations

import time
from types import TracebackType

from hardtack.core.errors import NotFound, ObjectChanged
from hardtack.source.api import ObjectInfo
from hardtack.source.http import BROKEN, Reply
from hardtack.source.patience import Patience
from hardtack.source.store_client import StoreClient
from hardtack.source.store_replies import check_range


class StoreStream:
    """A ByteStream and the context manager that gives its connection back."""

    def __init__(
        self, client: StoreClient, key: str, info: ObjectInfo, start: int, stop: int, what: str
    ) -> None:
        self._client, self._key, self._info, self._what = client, key, info, what
        self._at, self._stop = start, stop
        self._patience = Patience(client.options)
        self._watch = client.new_watch()
        self._reply: Reply | None = None

    def __enter__(self) -> StoreStream:
        if self._at < self._stop:
            self._reply = self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._reply is not None:
            self._reply.close()
            self._reply = None

    def readinto(self, buffer: memoryview) -> int:
        left = self._stop - self._at
        if left <= 0 or not buffer:
            return 0
        view = buffer if len(buffer) <= left else buffer[:left]
        while True:
            if self._reply is None:
                self._reply = self._open()
            error: BaseException | None = None
            status = "with a body that breaks off or comes too slowly"
            before = time.monotonic()
            try:
                count = self._reply.readinto(view)
            except BROKEN as broken:
                count, error = 0, broken
            fast = self._watch.sample(time.monotonic() - before, count)
            if count:
                self._arrived(count, fast)
                return count
            self._drop()
            if not self._patience.again():
                raise self._client.unreachable(self._what, error, status) from error

    def _arrived(self, count: int, fast: bool) -> None:
        self._at += count
        self._patience.arrived(count)
        if self._reply is None:
            return
        if self._at == self._stop:
            self._reply.release()
            self._reply = None
        elif not fast:
            self._drop()
            if not self._patience.again():
                raise self._client.unreachable(self._what, None, "too slowly")

    def _drop(self) -> None:
        if self._reply is not None:
            self._reply.close()
        self._reply = None
        self._watch = self._client.new_watch()

    def _open(self) -> Reply:
        headers = {"Range": f"bytes={self._at}-{self._stop - 1}", **self._client.read_headers}
        if self._info.etag:
            headers["If-Match"] = f'"{self._info.etag}"'
        try:
            reply = self._client.request(
                "GET", self._key, self._what, headers=headers, patience=self._patience
            )
        except NotFound as error:
            raise ObjectChanged(f"{self._what} is gone.") from error
        try:
            check_range(reply.status, reply.headers, self._info, self._at, self._stop, self._what)
        except BaseException:
            reply.close()
            raise
        return reply
