"""Which detectors the box knows, learns of, and runs servers for."""

from __future__ import annotations

import logging
from pathlib import Path

from hardtack.core.errors import UpstreamError
from hardtack.endpoint import ids
from hardtack.endpoint.book import Book
from hardtack.endpoint.cloud import Cloud
from hardtack.endpoint.detectors import Detector
from hardtack.endpoint.edgeconfig import EdgeConfig
from hardtack.endpoint.inforce import InForce
from hardtack.endpoint.query import Refused
from hardtack.endpoint.waiting import waiting_for

_log = logging.getLogger(__name__)

AWAY = 30
"""Seconds after which to ask again what the cloud, which is away, has to say."""


class Known:
    """The detectors of the book, and of the cloud where there is one. Thread-safe."""

    def __init__(
        self, book: Book, models: Path, in_force: InForce, cloud: Cloud | None = None
    ) -> None:
        """`models` is the directory of their models, on the mount."""
        self.book = book
        self.models = models
        self.in_force = in_force
        self._cloud = cloud
        self._told: dict[str, str] = {}

    @property
    def config(self) -> EdgeConfig:
        return self.in_force.now

    def wanted(self) -> frozenset[str]:
        """The detectors that a server is run for: each that the file or the edge configuration
        names, and those learnt from the cloud whose models are here. Blocks on the mount."""
        others = (d.id for d in self.book.every() if self.config.of(d.id).enabled)
        return self.named().union(d for d in others if _is_there(self.models / d))

    def named(self) -> frozenset[str]:
        """Those of them that are known without a look at the mount."""
        return frozenset(
            d.id
            for d in self.book.every()
            if self.config.of(d.id).enabled
            and (self.book.named(d.id) or d.id in self.config.detectors)
        )

    def detector(self, identity: str, token: str = "") -> Detector:
        """From the box, else from the cloud. Raises Refused: 404, or 503 while it is away."""
        found = self.book.get(identity)
        if found is not None:
            return found
        if self._cloud is None:
            raise Refused(
                404, f"The detector {identity} is not known on this box, which has no cloud to ask."
            )
        try:
            return self._learnt(self._cloud, identity, token)
        except UpstreamError as error:
            raise Refused(
                503, f"The detector {identity} is not known on this box. {error}", AWAY
            ) from None

    def learn(self) -> None:
        """Ask the cloud about detectors whose models are here and that no file names, and anew
        about those that it told of before: it may have changed what it says."""
        if self._cloud is None or not self._cloud.upstream.token:
            return
        try:
            there = [path.name for path in self.models.iterdir()]
        except OSError as error:
            _log.warning("%s can't be listed: %s", self.models, error.strerror)
            there = []
        new = [i for i in there if ids.DETECTOR.fullmatch(i) and self.book.get(i) is None]
        for identity in [*new, *self.book.learnt()]:
            if self._cloud.upstream.reachable:
                self.learn_of(identity, self._cloud.upstream.token)

    def learn_of(self, identity: str, token: str) -> None:
        """Have what the cloud says of a detector now; what it said before stays where it says
        nothing, which is told."""
        if self._cloud is None or self.book.named(identity):
            return
        told = ""
        try:
            with waiting_for(f"the cloud at {self._cloud.upstream.url} to describe {identity}"):
                self._learnt(self._cloud, identity, token)
        except UpstreamError as error:
            told = str(error)
        except Refused as refused:
            told = refused.reason
        if told and self._told.get(identity) != told:
            _log.warning("%s", told)
        self._told[identity] = told

    def _learnt(self, cloud: Cloud, identity: str, token: str) -> Detector:
        """The detector as the cloud describes it, for good. Raises UpstreamError, Refused."""
        if not cloud.upstream.reachable:
            raise UpstreamError(f"The cloud at {cloud.upstream.url} can't be reached.")
        reply = cloud.upstream.request("GET", f"/device-api/v1/detectors/{identity}", token=token)
        if reply.status != 200:
            told = f"{reply.status}, {reply.detail}"
            raise Refused(
                reply.status, f"The cloud says of the detector {identity}: {told.rstrip('.')}."
            )
        return self.book.learn(reply.json())


def _is_there(directory: Path) -> bool:
    """Whether it is a directory; no, where its mount is dead, for which `is_dir` raises."""
    try:
        return directory.is_dir()
    except OSError:
        return False
