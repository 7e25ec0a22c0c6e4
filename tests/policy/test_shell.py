"""Shell as the rules read it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardtack.manifests.chains import chains
from tests.support.deployments import brief, checked, pod

HIDES = [
    "wget -q $URL || true",
    "crane pull alpine:3.20.3 /a.tar || :",
    "skopeo copy docker://alpine:3.20.3 oci:/a || echo failed",
    "set -e; { curl -fO $URL && tar xf k3s.tar; } || exit 0",
    "pip install x || { echo no; true; }",
    "if true; then curl -fO $URL || true; fi",
]
STOPS = [
    "wget -q $URL || exit 1",
    "wget -q $URL || { echo no; exit 1; }",
    "wget -q $URL || return 1",
    "mkdir /a || true",
    "echo 'wget x || true'",
    "# wget x || true",
    "wget -q $ONE || wget -q $OTHER",
    "[ -f /a ] && X=1 || X=2 && wget -q $URL/$X",
]


@pytest.mark.parametrize("command", HIDES)
def test_a_failure_that_is_hidden(tmp_path: Path, command: str) -> None:
    files = {
        "Dockerfile": f"FROM a:1.1\nRUN mkdir /a; \\\n    {command}\n",
        "b.sh": f"\n\n{command}\n",
    }
    findings = brief(checked(tmp_path, files))
    assert [found for found in findings if found[0] == "hidden-failure"] == [
        ("hidden-failure", 3),
        ("hidden-failure", 3),
    ]


@pytest.mark.parametrize("command", STOPS)
def test_a_failure_that_is_not(tmp_path: Path, command: str) -> None:
    report = checked(tmp_path, {"b.sh": f"{command}\n"})
    assert brief(report) == []


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("curl -fsSL $URL | tar -xz", 3),
        ("curl -fsSL \\\n      $URL | \\\n      sh", 3),
        ("mkdir /a && wget -qO- $URL |& gunzip > /a/b", 3),
        ("set -o pipefail; curl -fsSL $URL | tar -xz", 0),
        ("curl -fsSL $URL -o a.tar && tar -xf a.tar", 0),
        ("yes | apt-get install -y curl", 0),
        ("echo 'curl x | sh'", 0),
        ('curl -fsSL "$(echo $URL | tr a b)" -o x', 0),
    ],
)
def test_a_pipe_that_hides(tmp_path: Path, command: str, line: int) -> None:
    files = {"Dockerfile": f"FROM a:1.1\nRUN mkdir /a; \\\n    {command}\n"}
    found = [f for f in brief(checked(tmp_path, files)) if f[0] == "hidden-pipe"]
    assert found == ([("hidden-pipe", line)] if line else [])


def test_pipefail_holds_for_its_stage(tmp_path: Path) -> None:
    shell = 'SHELL ["/bin/bash", "-o", "pipefail", "-c"]'
    text = f"FROM a:1.1\n{shell}\nRUN curl $U | sh\nFROM b:1.1\nRUN curl $U | sh\n"
    assert brief(checked(tmp_path, {"Dockerfile": text})) == [("hidden-pipe", 5)]


def test_the_chain_that_downloads_twice(tmp_path: Path) -> None:
    text = (
        "FROM a:1.1\n"
        "RUN mkdir -p /p && \\\n"
        "    crane export k3s:1.31.5 - | tar x && \\\n"
        "    mv k3s.tar /p || \\\n"
        "    echo will download && \\\n"
        "    wget -q https://example.com/k3s.tar || true\n"
    )
    found = brief(checked(tmp_path, {"Dockerfile": text}))
    assert found == [("and-or-chain", 2), ("hidden-failure", 3), ("hidden-pipe", 3)]


def test_a_command_is_quoted_by_whole_words(tmp_path: Path) -> None:
    text = (
        "a || mkdir -p /var/lib/rancher/k3s/agent/images/airgap && wget -q https://example.com/x\n"
        "a || b && wget https://example.com/a-name-that-is-far-longer-than-what-a-message-quotes\n"
        "wget x || echo the download of the airgap images has failed; true\n"
    )
    messages = [found.message for found in checked(tmp_path, {"b.sh": text}).findings]
    assert [message.split("`")[-2 if "hidden" in message else 5] for message in messages] == [
        "wget -q https://example.com/x",
        "wget …",
        "|| echo the download of the airgap images …",
    ]


def test_a_here_document_is_no_command(tmp_path: Path) -> None:
    text = "cat > x <<EOF\nwget x || true\nEOF\nwget y || true\n"
    assert brief(checked(tmp_path, {"b.sh": text})) == [("hidden-failure", 4)]


def test_a_run_heredoc_is_one(tmp_path: Path) -> None:
    text = "FROM a:1.1\nRUN <<EOF\nset -e\nwget y || true\nEOF\n"
    assert brief(checked(tmp_path, {"Dockerfile": text})) == [("hidden-failure", 4)]


@pytest.mark.parametrize(
    "command",
    [
        '["sh", "-c", "curl -fO https://example.com/x"]',
        '["apk", "add", "curl"]',
        '["/bin/bash", "-ec", "pip3 install --quiet requests; exec run"]',
        '["sh", "-c", "apt-get update && apt-get install -y jq"]',
        "[wget, 'https://{{ .Values.host }}/x']",
    ],
)
def test_downloads_at_run_time(tmp_path: Path, command: str) -> None:
    report = checked(tmp_path, {"pod.yaml": pod(f"command: {command}")})
    assert {found.rule for found in report.findings} == {"runtime-download"}
    assert {found.place.line for found in report.findings} == {10}


@pytest.mark.parametrize(
    "command",
    [
        '["curl", "-f", "http://127.0.0.1:8000/health"]',
        '["sh", "-c", "curl -sk https://kubernetes.default.svc/healthz"]',
        '["sh", "-c", "wget -qO- http://edge-endpoint:30101/status"]',
        '["pip", "--version"]',
        '["serve", "--curl"]',
    ],
)
def test_what_stays_on_the_box(tmp_path: Path, command: str) -> None:
    assert brief(checked(tmp_path, {"pod.yaml": pod(f"command: {command}")})) == []


def test_scripts_in_configmaps_and_block_scalars(tmp_path: Path) -> None:
    script = (
        "kind: ConfigMap\nmetadata: {name: m}\ndata:\n  run.sh: |\n    set -e\n    apk add jq\n"
    )
    block = pod("command:", "  - sh", "  - -c", "  - |", "    set -e", "    apk add jq")
    report = checked(tmp_path, {"map.yaml": script, "pod.yaml": block})
    assert brief(report) == [("runtime-download", 6), ("runtime-download", 15)]


@given(st.text(alphabet="ab&|;(){}$`'\"\\\n# <EOF-", max_size=60))
def test_any_text_is_read(text: str) -> None:
    lines = text.count("\n")
    for chain in chains(text):
        assert chain
        assert all(0 <= command.line <= lines for command in chain)
