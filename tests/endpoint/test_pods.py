"""What is read from the pods of a detector."""

from __future__ import annotations

from typing import Any

import pytest

from hardtack.endpoint.backends.kubernetes import pods

EXAMINER = {"exitCode": 80, "message": "log\nhardtack: it fails its golden picture\n  Publish it."}
CRASH = {"exitCode": 139, "message": "Segmentation fault"}
TOO_MUCH = {"exitCode": 137, "reason": "OOMKilled"}


def pod(*ended: dict[str, Any]) -> pods.Pod:
    """One whose containers ended like this, each once."""
    statuses = [{"restartCount": 1, "lastState": {"terminated": each}} for each in ended]
    labels = {"hardtack.dev/detector": "det_1", "hardtack.dev/version": "2"}
    body = {"metadata": {"labels": labels}, "status": {"containerStatuses": statuses}}
    (found,) = pods.of("det_1", [body])
    return found


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ([CRASH], "exit code 139"),
        ([TOO_MUCH], "it took more memory than it may"),
        ([EXAMINER], "it fails its golden picture"),
        # What says why goes before what ended beside it, whichever stands first.
        ([CRASH, EXAMINER], "it fails its golden picture"),
        ([EXAMINER, CRASH], "it fails its golden picture"),
        ([], ""),
    ],
)
def test_the_last_words_of_any_container_are_the_reason(
    ended: list[dict[str, Any]], said: str
) -> None:
    found = pod(*ended)
    assert (found.last, found.restarts) == (said, len(ended))


def test_an_end_that_is_now_goes_before_one_from_before() -> None:
    status = {"state": {"terminated": EXAMINER}, "lastState": {"terminated": CRASH}}
    labels = {"hardtack.dev/detector": "det_1"}
    body = {"metadata": {"labels": labels}, "status": {"containerStatuses": [status]}}
    (found,) = pods.of("det_1", [body])
    assert found.last == "it fails its golden picture"
