"""Comments that suppress findings, and what is wrong with them: `check.py` reports these."""

from __future__ import annotations

from hardtack.manifests.place import Severity
from hardtack.policy.rule import Rule, example, nothing


def _pod(comment: str, policy: str = "Always") -> str:
    return f"""\
apiVersion: v1
kind: Pod
metadata:
  name: updater
spec:
  containers:
    - name: updater
      # hardtack: allow {comment}
      image: alpine:3.20.3
      imagePullPolicy: {policy}
"""


RULES = (
    Rule(
        "suppression-without-reason",
        Severity.ERROR,
        "A suppression gives no reason",
        "`# hardtack: allow RULE reason` on a line, or on the line above it, suppresses what the "
        "rule finds there. The reason is for whoever reads it in a year.",
        example(pod_yaml=_pod("pull-always")),
        example(pod_yaml=_pod("pull-always runs in the workshop only, which has a network")),
        nothing,
    ),
    Rule(
        "suppression-unused",
        Severity.WARNING,
        "A suppression suppresses nothing",
        "What it excused is gone, or stands elsewhere now, or there is no rule of that name. "
        "Remove it before it excuses something else.",
        example(pod_yaml=_pod("pull-always runs in the workshop only", "IfNotPresent")),
        example(pod_yaml=_pod("pull-always runs in the workshop only", "Always")),
        nothing,
    ),
)
