"""Scanning many manifests and templates."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.commands import clean_environment

from bench.figures import Figure, median_of
from bench.ground import Ground

FILES = 500
_MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-{0}
  labels: &labels
    app: app-{0}
spec:
  selector: {{matchLabels: *labels}}
  template:
    metadata: {{labels: *labels}}
    spec:
      initContainers:
        - name: wait
          image: busybox:1.36
          command: [sh, -c, "until nc -z db 5432; do sleep 1; done"]
      containers:
        - name: main
          image: registry.example/team/app-{0}:1.{0}
          imagePullPolicy: IfNotPresent
          env: [{{name: NUMBER, value: "{0}"}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: job-{0}}}
data:
  job.yaml: |
    apiVersion: batch/v1
    kind: Job
    spec:
      template:
        spec:
          containers: [{{name: job, image: "registry.example/team/job:{0}"}}]
"""
_TEMPLATE = """\
{{{{- if .Values.enabled }}}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{{{ include "bench.name" . }}}}-{0}
spec:
  template:
    spec:
      containers:
        - name: main
          image: "{{{{ .Values.registry }}}}/part-{0}:{{{{ .Values.tag | default "latest" }}}}"
          {{{{- with .Values.policy }}}}
          imagePullPolicy: {{{{ . }}}}
          {{{{- end }}}}
{{{{- end }}}}
"""


def scan(ground: Ground) -> Iterator[Figure]:
    """`hardtack images scan` of 250 manifests and 250 templates of a chart."""
    home = ground.work / "deployment"
    _write(home)
    command = [str(Path(sys.executable).with_name("hardtack")), "images", "scan", str(home)]
    options = ["--helm", "raw", "--json"]

    def once() -> float:
        start = time.perf_counter()
        done = subprocess.run(
            [*command, *options], env=clean_environment(), check=True, capture_output=True
        )
        seconds = time.perf_counter() - start
        found = len(json.loads(done.stdout)["images"])
        if found != FILES // 2 * 4:
            raise SystemExit(f"{found} images found in {home}, expected {FILES * 2}")
        return seconds

    (seconds,) = median_of(2 * ground.rounds + 1, once)
    yield Figure(
        f"scan {FILES} files", seconds, 2, at_least=False,
        meaning="s: 250 manifests with an image in a ConfigMap each, 250 templates of a chart",
    )  # fmt: skip


def _write(home: Path) -> None:
    templates = home / "chart" / "templates"
    templates.mkdir(parents=True)
    (home / "chart" / "Chart.yaml").write_text("apiVersion: v2\nname: bench\nversion: 1.0.0\n")
    (home / "chart" / "values.yaml").write_text(
        "enabled: true\nregistry: registry.example\ntag: '7'\npolicy: IfNotPresent\n"
    )
    (templates / "_helpers.tpl").write_text('{{- define "bench.name" -}}bench{{- end }}\n')
    for number in range(FILES // 2):
        (home / f"app-{number}.yaml").write_text(_MANIFEST.format(number))
        (templates / f"part-{number}.yaml").write_text(_TEMPLATE.format(number))
