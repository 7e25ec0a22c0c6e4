"""The chart as plain manifests, for boxes without Helm."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import hardtack
from hardtack.core.errors import ConfigError, ManifestError
from hardtack.manifests import helm_render

OLDEST = "1.28"
"""Of Kubernetes. What is rendered for it runs on every newer one too."""
_HEAD = "# Made from charts/hardtack by `hardtack deploy render`; change that, not this.\n"
_BY_HELM = "app.kubernetes.io/managed-by: Helm"
_BY_US = "app.kubernetes.io/managed-by: hardtack"
_NAMESPACE = """\
apiVersion: v1
kind: Namespace
metadata:
  name: {0}
"""


def chart() -> Path:
    """Our own chart: a checkout's, or the one in the package. Raises ConfigError."""
    package = Path(hardtack.__file__).resolve().parent
    for place in (package.parents[1] / "charts" / "hardtack", package / "deploy" / "chart"):
        if (place / "Chart.yaml").is_file():
            return place
    raise ConfigError("This installation has no chart.", remedy="Give one: --chart DIR.")


def render(
    helm: str | None,
    directory: Path,
    values: Sequence[Path] = (),
    *,
    namespace: str = "edge",
    kubernetes: str = OLDEST,
) -> dict[str, str]:
    """File name → manifests, one file for each template. Raises ManifestError."""
    if helm is None:
        raise ManifestError(
            "Rendering needs Helm, and there is none on the PATH.",
            remedy="Install Helm 3 or 4, or set HELM to its program.",
        )
    options = ["--namespace", namespace, "--kube-version", kubernetes, "--no-hooks"]
    for file in values:
        options += ["--values", str(file.resolve())]
    files = {"namespace.yaml": _HEAD + _NAMESPACE.format(namespace)}
    for section in helm_render.render(helm, directory, release="edge", options=options):
        if section.template.startswith("templates/tests/"):
            continue
        name = section.template.rpartition("/")[2]
        text = section.text.strip("\n").replace(_BY_HELM, _BY_US) + "\n"
        files[name] = f"{files[name]}---\n{text}" if name in files else _HEAD + text
    return dict(sorted(files.items()))


def differing(directory: Path, files: dict[str, str]) -> list[str]:
    """Names of the files in `directory` that are not as rendered, missing, or no longer made."""
    there = {path.name: path.read_text() for path in directory.glob("*.yaml")}
    made_here = {name for name, text in there.items() if text.startswith(_HEAD)}
    return sorted(
        name for name in files.keys() | made_here if files.get(name) != there.get(name)
    )  # fmt: skip


def write(directory: Path, files: dict[str, str]) -> list[str]:
    """Make `directory` hold `files`; those that are no longer made go. What changed."""
    directory.mkdir(parents=True, exist_ok=True)
    changed = differing(directory, files)
    for name in changed:
        if name in files:
            (directory / name).write_text(files[name])
        else:
            (directory / name).unlink()
    return changed


def one_text(files: dict[str, str]) -> str:
    """All of them as one stream, the namespace first."""
    names = sorted(files, key=lambda name: (name != "namespace.yaml", name))
    return "---\n".join(re.sub(r"^#.*\n", "", files[name], count=1) for name in names)
