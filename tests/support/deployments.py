"""Small deployments, written to disk and checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hardtack.policy.check import Report, check
from hardtack.policy.config import Config, read_config
from hardtack.policy.rules import BY_ID


def written(directory: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
    return directory


def checked(
    directory: Path, files: Mapping[str, str] | None = None, config: Config | None = None
) -> Report:
    """The report on `directory`; `files` are written before. One called images.lock is the lock,
    policy.toml the configuration where none is given."""
    written(directory, files or {})
    lock, policy = directory / "images.lock", directory / "policy.toml"
    if config is None and policy.exists():
        config = read_config(policy, frozenset(BY_ID))
    return check([directory], config, lock=lock if lock.exists() else None)


def brief(report: Report) -> list[tuple[str, int]]:
    """(rule, line) of each finding."""
    return [(found.rule, found.place.line) for found in report.findings]


def rules_of(report: Report) -> list[str]:
    return [found.rule for found in report.findings]


def pod(*lines: str, image: str = "alpine:3.20.3", policy: str = "IfNotPresent") -> str:
    """A pod of one container; `lines` are those of the container behind image (line 8)."""
    written_policy = [f"imagePullPolicy: {policy}"] if policy else []
    rest = "".join(f"      {line}\n" for line in [*written_policy, *lines])
    return f"""\
apiVersion: v1
kind: Pod
metadata:
  name: camera
spec:
  containers:
    - name: camera
      image: {image}
{rest}"""
