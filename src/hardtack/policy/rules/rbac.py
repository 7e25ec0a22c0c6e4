"""Rights that nothing uses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hardtack.manifests.place import Severity
from hardtack.manifests.resources import resources
from hardtack.manifests.yamlpos import Node, children, text_of
from hardtack.policy.deployment import Deployment
from hardtack.policy.rule import Found, Rule, example

_JOBS = {"jobs", "cronjobs", "jobs/status", "cronjobs/status"}
_USES = re.compile(r"\b(?:cron)?jobs?\b", re.IGNORECASE)


def _check(deployment: Deployment) -> Iterator[Found]:
    if any("kubectl" in s.text and _USES.search(s.text) for s in deployment.scripts):
        return
    for document in deployment.scan.documents:
        for way, root in resources(document):
            if text_of(root.get("kind")) not in ("Role", "ClusterRole"):
                continue
            for rule in children(root.get("rules")):
                named = _texts(rule, "resources") & _JOBS
                if "batch" in _texts(rule, "apiGroups") and named:
                    yield Found(
                        document.place(rule),
                        f"{way} gives rights on batch {', '.join(sorted(named))}, "
                        "which no command in this deployment uses",
                    )


def _texts(rule: Node, key: str) -> set[str]:
    return {text_of(item) for item in children(rule.get(key))}


def _role(group: str, resource: str) -> str:
    return f"""\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: model-updater
rules:
  - apiGroups: ["{group}"]
    resources: ["{resource}"]
    verbs: ["get", "list", "create", "delete"]
"""


RULES = (
    Rule(
        "rbac-jobs-unused",
        Severity.WARNING,
        "A role gives rights on Jobs that nothing uses",
        "Creating Jobs means running any image with any mount. Where no command works with them, "
        "the right is only an attacker's.",
        example(role_yaml=_role("batch", "jobs")),
        example(role_yaml=_role("apps", "deployments")),
        _check,
    ),
)
