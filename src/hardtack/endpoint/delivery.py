"""The queue's way to the cloud: in order, each entry once; one that the cloud fails over again and
again lets the others by."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from hardtack.core.backoff import Backoff
from hardtack.core.errors import UpstreamError
from hardtack.endpoint import ids
from hardtack.endpoint.outbox import Entry, Outbox
from hardtack.endpoint.sparingly import Sparingly
from hardtack.endpoint.upstream import Reply, Upstream

_log = logging.getLogger(__name__)

PATH = "/device-api/v1/image-queries"
_NO_TOKEN = (
    "no API token is known: set GROUNDLIGHT_API_TOKEN, or let a caller send an image query with one"
)
_TOKEN = "set GROUNDLIGHT_API_TOKEN to a token that it takes"
_LATER = "it is asked again"
_HELD = {401: _TOKEN, 403: _TOKEN, 408: _LATER, 429: _LATER}
"""The cloud may take it later: with another token, or with time."""
_KNOWN = 409
_PAUSE = Backoff(1.0, 60.0)
_TICK = 1.0
_AFTER_FAULT = 60.0
_TRIES = 5
_ASIDE = 3600.0
"""Seconds that an entry rests which the cloud failed over so often, while those behind it go."""


class Delivery:
    """A thread that empties the outbox while the cloud is reached."""

    def __init__(
        self, outbox: Outbox, upstream: Upstream,
        delivered: Callable[[Entry, dict[str, Any]], None], pause: Backoff = _PAUSE,
    ) -> None:  # fmt: skip
        """`delivered` is told each entry and the cloud's image query; `pause` follows a failure."""
        self.held = ""
        self._trouble = Sparingly(_log)
        self._outbox = outbox
        self._upstream = upstream
        self._delivered = delivered
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._told: set[str] = set()
        self._pause = pause
        self._failures: dict[str, int] = {}
        self._aside: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._wake.set()
        if self._thread.ident:
            self._thread.join(self._upstream.deadline + 5)

    def put(self, entry: Entry) -> bool:
        """Keep an entry and deliver it soon. False where it could not be kept."""
        try:
            kept = self._outbox.put(entry)
        except OSError as error:
            self._trouble.error(
                f"The image query {entry.id} can't be queued for the cloud: {error}"
            )
            return False
        self._wake.set()
        return kept

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._deliver_all()
            except Exception:  # noqa: BLE001 (a damaged database, for one: queries must go on)
                _log.exception("The queue for the cloud can't be worked through.")
                self._closed.wait(_AFTER_FAULT)

    def _deliver_all(self) -> None:
        """Deliver what there is and what comes, until it is closed."""
        delays = self._pause.delays()
        last, rest = time.monotonic(), 0.0
        while not self._closed.is_set():
            self._wake.wait(_TICK)
            self._wake.clear()
            now = time.monotonic()
            if now - last >= _TICK:
                last, passed = now, now - last
                self._tidy(passed)
            while now >= rest and not self._closed.is_set() and self._may_deliver():
                entry = self._outbox.first(besides={*self._told, *self._resting()})
                if entry is None:
                    break
                if not self._deliver(entry):
                    rest = time.monotonic() + next(delays)
                    break
                delays = self._pause.delays()

    def _may_deliver(self) -> bool:
        """Whether there is a cloud to deliver to, and a token to do it with."""
        if not self._upstream.token and self._outbox.status()["size"]:
            self._say(_NO_TOKEN)
        return self._upstream.reachable and bool(self._upstream.token)

    def _resting(self) -> list[str]:
        """The entries whose turn it isn't."""
        now = time.monotonic()
        return [identity for identity, until in self._aside.items() if now < until]

    def _failed(self, entry: Entry, reason: str) -> None:
        """One entry that the cloud fails over again and again holds up no other."""
        count = self._failures[entry.id] = self._failures.get(entry.id, 0) + 1
        if count >= _TRIES:
            self._aside[entry.id] = time.monotonic() + _ASIDE
            _log.error(
                "The image query %s could not be delivered %d times: %s Those behind it go first.",
                entry.id, count, reason,
            )  # fmt: skip

    def _passed(self, entry: Entry) -> None:
        """The cloud works: what it failed over while it may not have is tried once more."""
        self._failures.pop(entry.id, None)
        self._aside.pop(entry.id, None)
        for identity in self._aside:
            if self._failures[identity] == _TRIES:
                self._aside[identity] = 0.0

    def _tidy(self, passed: float) -> None:
        """Forget what the cloud has and what has become too old."""
        try:
            for identity in sorted(self._told):
                self._forget(identity)
            for identity in [i for i in self._failures if not self._outbox.holds(i)]:
                del self._failures[identity]
                self._aside.pop(identity, None)
            self._outbox.passed(passed)
            self._outbox.settle()
        except OSError as error:  # a full disk, for one: the next tick tries again
            self.held = self.held or str(error)
            self._trouble.error(f"The queue for the cloud: {error}")

    def _forget(self, identity: str, *, refused: bool = False) -> None:
        """The cloud has it or will never take it. Raises OSError; it isn't sent again even so."""
        self._told.add(identity)
        self._outbox.done(identity, refused=refused)
        self._told.discard(identity)

    def _say(self, reason: str) -> None:
        """What is wrong with the queue, once in the log."""
        if self.held != reason:
            _log.error("The queue for the cloud: %s", reason)
            self.held = reason

    def _deliver(self, entry: Entry) -> bool:
        """Whether the entry needs no further delivery."""
        try:
            reply = self._upstream.request(
                "POST", PATH, query=entry.parameters, body=entry.picture, media=entry.media,
                token=self._upstream.token,
            )  # fmt: skip
            settled = self._settled(entry, reply)
        except UpstreamError as error:
            self.held = str(error)
            self._failed(entry, self.held)
            return False
        except OSError as error:
            self._say(str(error))
            return True
        if settled:
            self._passed(entry)
        return settled

    def _settled(self, entry: Entry, reply: Reply) -> bool:
        if reply.status in _HELD:
            self._say(f"the cloud answers {reply.status}; {_HELD[reply.status]}")
            return False
        if reply.status >= 400 and reply.status != _KNOWN:
            _log.error("The cloud refuses the image query %s: %d", entry.id, reply.status)
            self._forget(entry.id, refused=True)
            return True
        if reply.status != _KNOWN:
            self._delivered(entry, image_query(reply))
        self._forget(entry.id)
        self.held = ""
        return True


def image_query(reply: Reply) -> dict[str, Any]:
    """The image query in a reply of the cloud. Raises UpstreamError."""
    body = reply.json()
    if (
        not ids.IMAGE_QUERY.fullmatch(str(body.get("id")))
        or not isinstance(body.get("detector_id"), str)
        or not isinstance(result := body.get("result", ""), dict | None)
        or not _is_confidence((result or {}).get("confidence"))
    ):
        raise UpstreamError(f"The cloud's reply {reply.status} is not an image query.")
    return body


def _is_confidence(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and 0 <= value <= 1)
