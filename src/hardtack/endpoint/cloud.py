"""The cloud as image queries see it: asked at once, or later through the queue."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hardtack.core.errors import UpstreamError
from hardtack.endpoint.delivery import PATH, Delivery, image_query
from hardtack.endpoint.outbox import Entry, Outbox
from hardtack.endpoint.store import Store
from hardtack.endpoint.upstream import Reply, Upstream

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """What is asked about, as it came, and the caller's token."""

    data: bytes
    media: str
    token: str = ""


class Cloud:
    """The cloud, and the queue before it."""

    def __init__(self, upstream: Upstream, outbox: Outbox, store: Store) -> None:
        self.upstream = upstream
        self.outbox = outbox
        self.delivery = Delivery(outbox, upstream, self._delivered)
        self._store = store

    def start(self) -> None:
        self.upstream.start()
        self.delivery.start()

    def close(self) -> None:
        self.delivery.close()
        self.upstream.close()
        self.outbox.close()

    def submit(self, parameters: Mapping[str, str], picture: Picture) -> Reply:
        """Raises UpstreamError."""
        if not self.upstream.reachable:
            raise UpstreamError(f"The cloud at {self.upstream.url} can't be reached.")
        return self.upstream.request(
            "POST", PATH, query=parameters, body=picture.data, media=picture.media,
            token=picture.token,
        )  # fmt: skip

    def newer(self, body: dict[str, Any], token: str) -> dict[str, Any]:
        """The image query as the cloud knows it by now, where it was sent on and is reached."""
        identity = body["id"]
        waits = body.get("done_processing", True) or self.outbox.holds(identity)
        if waits or not self.upstream.reachable:
            return body
        try:
            reply = self.upstream.request(
                "GET", f"{PATH}/{identity}", token=token or self.upstream.token
            )
            if reply.status != 200:
                return body
            return self._keep(identity, image_query(reply))
        except UpstreamError as error:
            _log.info("%s", error)
            return body

    def _delivered(self, entry: Entry, told: dict[str, Any]) -> None:
        if not entry.audit:
            self._keep(entry.id, told)

    def _keep(self, identity: str, told: dict[str, Any]) -> dict[str, Any]:
        """Keep the cloud's image query where it has a result; what is kept now."""
        known = self._store.get(identity)
        if known is None or not isinstance(told.get("result"), dict):
            return known or told
        body = {**known, **told, "id": identity, "done_processing": False}
        body["done_processing"] = told.get("done_processing", True)
        self._store.change(body)
        return body
