"""Images and pull policies inside strings, and what can't be told or read."""

from __future__ import annotations

from collections.abc import Iterator

from hardtack.manifests.place import Severity
from hardtack.policy.deployment import Deployment, references
from hardtack.policy.rule import Found, Rule, example, example_pod


def _images(deployment: Deployment) -> Iterator[Found]:
    known = set(references(image for image in deployment.deployed if not image.hidden))
    known |= set(deployment.lock.images if deployment.lock else ())
    for image in deployment.scan.images:
        if image.hidden and image.reference and image.reference not in known:
            policy = f", pull policy {image.policy.value}" if image.policy else ""
            yield Found(
                image.place,
                f"{image.raw} stands only in a string ({image.path}{policy}), where tools that "
                "list images don't look",
            )


def _policies(deployment: Deployment) -> Iterator[Found]:
    for image in deployment.deployed:
        policy = image.policy
        if image.hidden and policy and policy.explicit and policy.value in (None, "Always"):
            yield Found(
                image.place,
                f"the pull policy of {image.raw} stands in a string ({image.path}), where a "
                f"deployment's settings don't reach: {policy.value or policy.why}",
            )


def _unknown(deployment: Deployment) -> Iterator[Found]:
    for image in deployment.scan.images:
        if image.reference is None:
            yield Found(image.place, image.untold)


def _unreadable(deployment: Deployment) -> Iterator[Found]:
    for problem in deployment.scan.problems:
        if problem.severity is not Severity.NOTE:
            yield Found(problem.place, problem.message)


def _template(policy: str) -> str:
    pod = example_pod().replace("IfNotPresent", policy)
    inside = "".join(f"    {line}" for line in pod.splitlines(keepends=True))
    return f"""\
apiVersion: v1
kind: ConfigMap
metadata:
  name: inference-template
data:
  pod.yaml: |
{inside}"""


_OPENLY = example_pod(name="warm-up")


def _compose(image: str) -> str:
    return f"services:\n  camera:\n    image: {image}\n"


RULES = (
    Rule(
        "hidden-image",
        Severity.WARNING,
        "An image stands only inside a string",
        "YAML inside a ConfigMap or Secret is applied by something at run time. Tools that list or "
        "rewrite images don't see it, so it is what gets forgotten. It is fine once the lock has "
        "it, or a manifest names it openly too.",
        example(template_yaml=_template("IfNotPresent")),
        example(template_yaml=_template("IfNotPresent"), pod_yaml=_OPENLY),
        _images,
    ),
    Rule(
        "hidden-pull-policy",
        Severity.WARNING,
        "A pull policy that asks the network stands inside a string",
        "A setting that turns all pull policies to IfNotPresent doesn't reach YAML inside a "
        "ConfigMap or Secret.",
        example(template_yaml=_template("Always"), pod_yaml=_OPENLY),
        example(template_yaml=_template("IfNotPresent"), pod_yaml=_OPENLY),
        _policies,
        also=("pull-always",),
    ),
    Rule(
        "image-unknown",
        Severity.WARNING,
        "An image can't be told from the files",
        "A variable or a template chooses it later, or it is no valid reference. What can't be "
        "told can't be locked.",
        example(compose_yaml=_compose("quay.io/cameras/server:${VERSION}")),
        example(compose_yaml=_compose("quay.io/cameras/server:${VERSION:-1.4.2}")),
        _unknown,
    ),
    Rule(
        "unreadable",
        Severity.ERROR,
        "A file could not be read",
        "What can't be read was not checked.",
        example(pod_yaml="kind: Pod\nspec: [\n"),
        example(pod_yaml="kind: Pod\nspec: {}\n"),
        _unreadable,
    ),
)
