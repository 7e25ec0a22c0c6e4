"""`hardtack policy`, as a person runs it."""

import json
import os
from pathlib import Path

from hardtack.policy.rules import RULES
from hardtack.policy.rules.lock import locked
from tests.support.commands import run
from tests.support.deployments import pod, written


def test_check_fix_and_check_again(tmp_path: Path) -> None:
    written(tmp_path, {"pod.yaml": pod(policy="Always")})
    found = run("policy", "check", "pod.yaml", cwd=tmp_path)
    assert found.returncode == 1
    assert found.stdout.splitlines()[0].startswith("pod.yaml:8: error: alpine:3.20.3 has pull")
    mended = run("policy", "check", "--fix", "pod.yaml", cwd=tmp_path)
    assert (mended.returncode, mended.stdout) == (0, "nothing found\n")
    assert mended.stderr == "pod.yaml: 1 line fixed\n"
    assert (tmp_path / "pod.yaml").read_text() == pod()


def test_formats_and_strictness(tmp_path: Path) -> None:
    written(tmp_path, {"pod.yaml": pod(policy="")})
    done = run("policy", "check", ".", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0
    (finding,) = json.loads(done.stdout)["findings"]
    assert (finding["rule"], finding["file"], finding["line"]) == (
        "pull-policy-missing", "pod.yaml", 8,
    )  # fmt: skip
    strict = run("policy", "check", ".", "--format", "github", "--strict", cwd=tmp_path)
    assert strict.returncode == 1
    assert strict.stdout.startswith("::warning file=pod.yaml,line=8,")


def test_the_lock_and_configuration_of_the_directory_are_taken(tmp_path: Path) -> None:
    written(tmp_path, {"pod.yaml": pod(), "images.lock": locked()})
    assert "[not-in-lock]" in run("policy", "check", "pod.yaml", cwd=tmp_path).stdout
    (tmp_path / "policy.toml").write_text('[rules.not-in-lock]\noff = "locked elsewhere"\n')
    assert run("policy", "check", "pod.yaml", cwd=tmp_path).stdout == "nothing found\n"
    (tmp_path / "policy.toml").write_text("[rules.nonsense]\n")
    refused = run("policy", "check", "pod.yaml", cwd=tmp_path)
    assert refused.returncode == 70
    assert "'nonsense'" in refused.stderr


def test_a_pipe_is_told_and_not_read(tmp_path: Path) -> None:
    written(tmp_path, {"pod.yaml": pod()})
    os.mkfifo(tmp_path / "x.yaml")
    found = run("policy", "check", ".", cwd=tmp_path)
    assert "x.yaml:1: error: left out: it's a pipe [unreadable]" in found.stdout


def test_rules_and_explain() -> None:
    listed = json.loads(run("policy", "rules", "--json").stdout)
    assert [row["rule"] for row in listed] == [rule.id for rule in RULES]
    assert "Wrong:" in run("policy", "explain", "pull-always").stdout
    wrong = run("policy", "explain", "pull-alway")
    assert wrong.returncode == 2
    assert "Did you mean 'pull-always'?" in wrong.stderr
