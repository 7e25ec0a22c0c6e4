"""What a rule is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hardtack.manifests.place import Place, Severity

if TYPE_CHECKING:
    from hardtack.policy.deployment import Deployment


@dataclass(frozen=True)
class Edit:
    """A change of one line: `line` (from 1) must still be `old`; `new` are the lines in its place.

    Lines carry no line ending.
    """

    file: Path
    line: int
    old: str
    new: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """One place where a rule is broken, as the rule's function tells it."""

    place: Place
    message: str
    edit: Edit | None = None


@dataclass(frozen=True)
class Finding:
    """One place where a rule is broken, with the severity that the configuration gives it."""

    rule: str
    severity: Severity
    place: Place
    message: str
    edit: Edit | None = None


@dataclass(frozen=True)
class Example:
    """Files of a small deployment, by name. `images.lock` among them is the lock."""

    files: Mapping[str, str]


@dataclass(frozen=True)
class Rule:
    """A rule: `check` yields every place that breaks it.

    `wrong` breaks it (and those of `also`, which can't be kept apart from it), `right` breaks none:
    the documentation shows both, and the tests run them. `fix` says what `--fix` does, if anything.
    """

    id: str
    severity: Severity
    title: str
    explanation: str
    wrong: Example
    right: Example
    check: Callable[[Deployment], Iterator[Found]] = field(repr=False)
    fix: str = ""
    also: tuple[str, ...] = ()


def example(**files: str) -> Example:
    """An example whose files are named by keyword: `pod_yaml` is `pod.yaml`."""
    return Example({_file_name(name): text for name, text in files.items()})


def pod_of(image: str, policy: str = "IfNotPresent") -> str:
    """A pod for examples, of `image`; `policy`: its pull policy as written, empty for none."""
    written = f"\n      imagePullPolicy: {policy}" if policy else ""
    return f"""\
apiVersion: v1
kind: Pod
metadata:
  name: healer
spec:
  containers:
    - name: healer
      image: {image}{written}
"""


def example_pod(*lines: str, name: str = "inference") -> str:
    """A pod for examples, with these further lines of its one container."""
    return f"""\
apiVersion: v1
kind: Pod
metadata:
  name: {name}
spec:
  containers:
    - name: server
      image: quay.io/cameras/server:1.4.2
      imagePullPolicy: IfNotPresent
""" + "".join(f"      {line}\n" for line in lines)


def _file_name(keyword: str) -> str:
    stem, _, suffix = keyword.rpartition("_")
    return f"{stem}.{suffix}" if stem else keyword


def nothing(_: Deployment) -> Iterator[Found]:
    """The check of a rule whose findings come from reading suppressions and files themselves."""
    return iter(())
