"""Is each image that the deployment names on this box, and would a pod start from it? Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hardtack.deploy.ready.checks import Check
from hardtack.deploy.ready.report import Row, State
from hardtack.images.audit import Row as Audited
from hardtack.images.audit import State as Found
from hardtack.images.lockfile import Lock, names
from hardtack.images.platforms import Platform
from hardtack.manifests.model import FoundImage, Kind
from hardtack.manifests.reference import Reference

_RUN = (Kind.CONTAINER, Kind.INIT, Kind.EPHEMERAL, Kind.VOLUME, Kind.CRD, Kind.CHART,
        Kind.SETTING)  # fmt: skip
_HERE = Check.IMAGES_HERE
_ABSENT = (Found.MISSING, Found.INCOMPLETE, Found.OTHER)
_FETCH = "Fetch it: hardtack ready --fetch, or hardtack images pull and install."
_LOCK = "Lock it: hardtack images lock PATHS; then pull and install."


def locked(
    lock: Lock, platform: Platform, store: Sequence[Audited], bundles: Sequence[Audited] = ()
) -> list[Row]:
    """A row for each image of `lock`: each of its names is complete in containerd's store, or in
    a bundle that k3s loads when it starts."""
    found: dict[str, Audited] = {}
    for row in (*store, *bundles):  # of two, the better; of two as good, the store's
        known = found.get(row.name)
        if known is None or _rank(row) < _rank(known):
            found[row.name] = row
    rows = []
    for image in lock.images:
        here = [found[name] for name in names(image, platform, lock) if name in found]
        worst = max(here, key=_rank, default=None)
        name = image.reference.name
        if worst is None or worst.state in _ABSENT:
            state, detail = State.MISSING, _told(worst)
            rows.append(Row(_HERE, name, state, detail, image.at(platform).size, _FETCH))
        elif worst.state is Found.UNPINNED:
            remedy = "Import it again: hardtack images install DIRECTORY --import."
            rows.append(Row(Check.IMAGES_PINNED, name, State.WRONG, _told(worst), remedy=remedy))
        else:
            rows.append(Row(_HERE, name, State.READY))
    return rows


def proven(lock: Lock, platform: Platform) -> frozenset[str]:
    """The names that the rows of `locked` speak for."""
    return frozenset(name for image in lock.images for name in names(image, platform, lock))


def named(deployment: Iterable[FoundImage], lock: Lock, platform: Platform) -> list[Row]:
    """Rows of what is amiss with the places that name images: not locked, so that nobody proved
    that it is here, or under a pull policy that asks the registry all the same."""
    spoken_for = proven(lock, platform)
    rows = [
        row
        for image in deployment
        if image.kind in _RUN
        for row in (_unlocked(image, spoken_for), _policy(image))
        if row is not None
    ]
    return list({(row.name, row.detail): row for row in rows}.values())


def _rank(row: Audited) -> int:
    return list(Found).index(row.state)


def _told(row: Audited | None) -> str:
    return f"{row.name}: {row.state}, {row.detail}" if row else "not audited"


def _unlocked(image: FoundImage, spoken_for: frozenset[str]) -> Row | None:
    if image.reference is None:
        detail = f"{image.place}: the image can't be told: {image.reason}"
        chart = image.kind is Kind.CHART
        remedy = "Give --deployment its files too." if chart else "Name it in full there."
        return Row(Check.IMAGES_NAMED, image.raw, State.WRONG, detail, remedy=remedy)
    if _asked(image.reference) in spoken_for:
        return None
    detail = f"{image.place} names it, images.lock doesn't"
    return Row(Check.IMAGES_LOCKED, image.reference.name, State.MISSING, detail, remedy=_LOCK)


def _asked(reference: Reference) -> str:
    """The name under which the kubelet has containerd look: by digest where there is one."""
    if reference.digest:
        return f"{reference.full_repository}@{reference.digest}"
    return reference.name


_POLICY: Mapping[str | None, str] = {
    "Always": "each start asks the registry, and fails without one",
    None: "nothing promises that it isn't Always",
}


def _policy(image: FoundImage) -> Row | None:
    policy = image.policy
    if policy is None or policy.value not in _POLICY:
        return None
    detail = f"{image.place}: pull policy {policy.value or 'not known'} ({policy.why}): "
    remedy = "Write imagePullPolicy: IfNotPresent there: hardtack policy check PATHS --fix."
    return Row(
        Check.IMAGES_POLICY, image.raw, State.WRONG, detail + _POLICY[policy.value], remedy=remedy
    )
