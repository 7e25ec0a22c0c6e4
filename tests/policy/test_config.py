"""What the configuration changes, and how it is refused."""

from pathlib import Path

import pytest

from hardtack.core.errors import LockError, PolicyError
from hardtack.manifests.place import Severity
from hardtack.policy.check import check
from hardtack.policy.config import Config, read_config
from hardtack.policy.rules import BY_ID
from hardtack.policy.rules.lock import locked
from tests.support.deployments import brief, checked, pod

OWN = "registry.example/team/server"


def configured(directory: Path, text: str) -> Config:
    file = directory / "policy.toml"
    file.write_text(text)
    return read_config(file, frozenset(BY_ID))


def test_own_images_may_have_another_policy(tmp_path: Path) -> None:
    files = {"pod.yaml": pod(image=f"{OWN}:latest", policy="Always")}
    assert brief(checked(tmp_path, files)) == [("floating-tag", 8), ("pull-always", 8)]
    config = configured(tmp_path, '[[own]]\nimages = "registry.example/*"\n')
    assert brief(checked(tmp_path, files, config)) == []


def test_own_images_may_be_held_to_less(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        '[[own]]\nimages = "registry.example/*"\npull-policies = ["Never"]\n'
        "floating-tags = false\n",
    )
    files = {"pod.yaml": pod(image=f"{OWN}:latest", policy="Always")}
    assert brief(checked(tmp_path, files, config)) == [("floating-tag", 8), ("pull-always", 8)]


def test_a_rule_is_off_with_a_reason_and_another_less_severe(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        '[rules.pull-always]\noff = "tested online"\n[rules.floating-tag]\nseverity = "note"\n',
    )
    report = checked(tmp_path, {"pod.yaml": pod(image="busybox", policy="Always")}, config)
    assert [(f.rule, f.severity) for f in report.findings] == [("floating-tag", Severity.NOTE)]
    assert not report.failed(Severity.WARNING)


def test_the_fleet_has_more_platforms_than_the_lock(tmp_path: Path) -> None:
    files = {"pod.yaml": pod(), "images.lock": locked("alpine:3.20.3")}
    assert brief(checked(tmp_path, files)) == []
    config = configured(tmp_path, 'platforms = ["linux/arm64", "linux/arm/v7"]\n')
    (found,) = checked(tmp_path, files, config).findings
    assert (found.rule, found.place.line) == ("platform-missing", 5)
    assert "linux/arm/v7" in found.message
    assert "linux/arm64;" not in found.message


def test_images_that_may_hold_credentials(tmp_path: Path) -> None:
    files = {"pod.yaml": pod("env: [{name: AWS_SECRET_ACCESS_KEY, value: x}]")}
    assert brief(checked(tmp_path, files)) == [("credentials-unneeded", 7)]
    assert brief(checked(tmp_path, files, configured(tmp_path, 'credentials = ["alpine"]'))) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("rules = 3", "rules is not a table"),
        ("[rules.no-such]\noff='x'", "no-such"),
        ("[rules.pull-always]\noff=''", "rules.pull-always.off"),
        ("[rules.pull-always]\nseverity='fatal'", "'fatal'"),
        ("[rules.pull-always]\nlevel='x'", "'level'"),
        ("[[own]]\npull-policies=['Sometimes']\nimages='a'", "'Sometimes'"),
        ("[[own]]\n", "own[0].images"),
        ("[[own]]\nimages='a'\nfloating-tags='yes'", "floating-tags"),
        ("own = 'a'", "own is not a list"),
        ("platforms = [1]", "platforms"),
        ("platform = []", "'platform'"),
        ("platforms = [", "is not TOML"),
    ],
)
def test_a_configuration_that_is_refused(tmp_path: Path, text: str, names: str) -> None:
    with pytest.raises(PolicyError) as refused:
        configured(tmp_path, text)
    assert names in str(refused.value)
    assert "policy.toml" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ("platforms = []\n\n[rulse.x]\n", "policy.toml:3: rulse: 'rulse'", "'rules'?"),
        ("[rules]\nfloating-tga.off = 'x'\n", "policy.toml:2: rules.f", "'floating-tag'?"),
        ("[rules.floating-tag]\n'of' = 'x'\n", "policy.toml:2: ", "'off'?"),
        ("[[own]]\nimages = 'a'\nfloating_tags = true\n", ":3: own[0].fl", "'floating-tags'?"),
        ("rules = {zzz = {}}\n", "policy.toml:1: rules.zzz", "`hardtack policy rules`"),
    ],
)
def test_a_wrong_word_is_told_with_its_line_and_the_right_one(
    tmp_path: Path, text: str, place: str, hint: str
) -> None:
    with pytest.raises(PolicyError) as refused:
        configured(tmp_path, text)
    assert place in refused.value.message
    assert hint in refused.value.remedy


def test_no_configuration_and_no_lock(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"none\.toml"):
        read_config(tmp_path / "none.toml", frozenset(BY_ID))
    with pytest.raises(LockError, match=r"images\.lock"):
        check([tmp_path], lock=tmp_path / "images.lock")


@pytest.mark.parametrize(
    "text",
    ["version = 2\n", "<<<<<<< ours\nversion = 1\n", "version = 1\n[[image]]\nname = 'A B'\n"],
)
def test_a_lock_that_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(LockError, match=r"images\.lock"):
        checked(tmp_path, {"pod.yaml": pod(), "images.lock": text})
