"""A whole listing of a bucket, its prefixes side by side where it has several pages."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from hardtack.core.errors import CorruptReply
from hardtack.core.pool import Pool
from hardtack.source.api import ObjectInfo
from hardtack.source.store_replies import Page

_MOST_PREFIXES = 64


@dataclass(frozen=True)
class Ask:
    """One request for a page: keys under `prefix` past `after`, or past what `token` stands for."""

    prefix: str
    after: str = ""
    token: str | None = None
    delimiter: str = ""


@dataclass(frozen=True)
class _Step:
    """`ask`, and how to go on: `split` looks for prefixes when there is a second page; `rest`
    is the ask that does without them."""

    ask: Ask
    split: bool = False
    rest: Ask | None = None


def list_pages(
    fetch: Callable[[Ask], Page], prefix: str, *, parallel: int, split: bool = True
) -> Iterator[list[ObjectInfo]]:
    """Every object under `prefix` once; whatever `fetch` raises, CorruptReply.

    Without `split` page after page, whatever order the keys come in.
    """
    first = _Step(Ask(prefix), split=split)
    objects, todo = _take(first, fetch(first.ask))
    if objects:
        yield objects
    if not todo:
        return
    waiting = deque(todo)

    def asked(step: _Step) -> tuple[_Step, Page]:
        return step, fetch(step.ask)

    with Pool[tuple[_Step, Page]](parallel, "listing") as pool:
        while waiting or pool.under_way:
            while waiting and pool.under_way < parallel:
                pool.submit(asked, waiting.popleft())
            objects, todo = _take(*pool.ended())
            waiting.extendleft(todo)
            if objects:
                yield objects


def _take(step: _Step, page: Page) -> tuple[list[ObjectInfo], list[_Step]]:
    """The objects that `page` adds, and what to ask next."""
    ask = step.ask
    if ask.delimiter and (page.token or len(page.prefixes) > _MOST_PREFIXES):
        # too wide to go through prefix by prefix
        return [], [_Step(step.rest)] if step.rest else []
    keys = page.objects
    if ask.after and not ask.token:
        # some stores ignore where to start
        keys = [info for info in keys if info.key > ask.after]
    if ask.delimiter:
        prefixes = sorted(set(page.prefixes))
        fresh = [p for p in prefixes if p > ask.after or ask.after.startswith(p)]
        below = [
            Ask(p, after=ask.after if ask.after.startswith(p) else "")
            for p in fresh
            if p != ask.prefix
        ]
        return keys, [_Step(a, split=True) for a in below]
    if page.token is None:
        return keys, []
    if page.token == ask.token:
        raise CorruptReply(f"The listing of {ask.prefix!r} names the same page as its next.")
    rest = replace(ask, token=page.token)
    last = page.objects[-1].key if page.objects else ""
    ordered = all(a.key < b.key for a, b in zip(page.objects, page.objects[1:], strict=False))
    if step.split and last and ordered:
        return keys, [_Step(Ask(ask.prefix, after=last, delimiter="/"), rest=rest)]
    return keys, [_Step(rest)]
