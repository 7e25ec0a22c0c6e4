"""Unit files as the next start finds them: what a real systemd makes of the same directories."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hardtack.deploy.facts import mountunits
from hardtack.deploy.facts.boot import Boot
from hardtack.deploy.facts.unitfiles import PLACES, UnitFiles, of_path
from tests.support.systemd import systemd

_ETC, _USR, _LATE = "etc/systemd/system", "usr/lib/systemd/system", "run/systemd/generator.late"
_EARLY, _MADE = "run/systemd/generator.early", "run/systemd/generator"
_WANTS = "multi-user.target.wants"
_SERVICE = """\
[Unit]
DefaultDependencies=no
{}
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
"""
_SERVICES = {
    f"{_ETC}/foo-bar-baz.service": "After=k3s.service",  # another's other name
    f"{_USR}/foo-bar@.service": "",
    f"{_USR}/k3s-server.service": "",
    f"{_USR}/masked.service": "",
    f"{_USR}/emptied.service": "",
    "opt/site.service": "",
    f"{_MADE}/made.service": "",
    f"{_EARLY}/over.service": "After=early.service",
    f"{_ETC}/over.service": "After=etc.service",
    f"{_USR}/plain.service": "",
    f"{_USR}/cut.service": "",
    f"{_USR}/never.service": "",
    f"{_USR}/through.service": "Wants=last.service",
    f"{_USR}/last.service": "",
    f"{_USR}/needs.service": "RequiresMountsFor=/mnt/x/deeper",
}
_DROP_INS = [
    f"{_ETC}/foo-bar-baz.service.d/a.conf", f"{_USR}/foo-bar-.service.d/b.conf",
    f"{_USR}/foo-.service.d/c.conf", f"{_ETC}/foo-.service.d/b.conf", f"{_MADE}/service.d/d.conf",
    f"{_USR}/service.d/a.conf", f"{_USR}/foo-bar-baz.service.d/z.conf",
    f"{_ETC}/foo-bar@x.service.d/1.conf", f"{_USR}/foo-bar@.service.d/2.conf",
    f"{_USR}/foo-@.service.d/3.conf", f"{_USR}/foo-@x.service.d/4.conf",
    f"{_ETC}/k3s.service.d/x.conf", f"{_USR}/k3s-server.service.d/y.conf",
    f"{_EARLY}/k3s-server.service.d/y.conf", f"{_LATE}/mnt-.mount.d/m.conf",
    "run/systemd/system/k3s.service.d/gone.conf",  # at the next start
]  # fmt: skip
_LINKS = {
    f"{_ETC}/default.target": f"../../../{_LATE}/multi-user.target",
    f"{_ETC}/k3s.service": f"../../../{_USR}/k3s-server.service",
    f"{_ETC}/masked.service": "/dev/null",
    f"{_USR}/vendor.service": "/dev/null",
    f"{_ETC}/linked.service": "../../../opt/site.service",
    f"{_ETC}/gone.service": "../../../opt/gone.service",
    f"{_ETC}/foo-bar-baz.service.d/z.conf": "/dev/null",
    f"{_ETC}/{_WANTS}/k3s.service": "../k3s.service",
    f"{_ETC}/{_WANTS}/foo-bar@x.service": f"../../../../{_USR}/foo-bar@.service",
    f"{_ETC}/{_WANTS}/masked.service": f"../../../../{_USR}/masked.service",
    f"{_MADE}/{_WANTS}/made.service": "../made.service",
    f"{_ETC}/{_WANTS}/cut.service": "/dev/null",
    f"{_USR}/{_WANTS}/cut.service": "../cut.service",
    f"{_USR}/{_WANTS}/through.service": "../through.service",
    f"{_USR}/rescue.target.wants/never.service": "../never.service",
}
_MOUNT = "[Unit]\nDefaultDependencies=no\n[Mount]\nType=tmpfs\n{}\n"
_MOUNTS = {
    "mnt-x": "What=tmpfs\nWhere=/mnt//x/",
    "wrong": "What=tmpfs\nWhere=/mnt/y",
    "mnt-dash": "What=tmpfs\nWhere=/mnt-dash",
    "mnt\\x2ddash": "What=tmpfs\nWhere=/mnt-dash",
    "mnt-nowhere": "What=tmpfs",
    "mnt-nothing": "Where=/mnt/nothing",
    "mnt-dots": "What=tmpfs\nWhere=/mnt/../mnt/dots",
    "mnt-relative": "What=tmpfs\nWhere=mnt/relative",
    "mnt-a\\x20b": "What=tmpfs\nWhere=/mnt/a b",
    "\\x2ehidden": "What=tmpfs\nWhere=/.hidden",
}


def _write(root: Path) -> None:
    files = {f"{_ETC}/{name}.mount": _MOUNT.format(text) for name, text in _MOUNTS.items()}
    files |= {name: _SERVICE.format(text) for name, text in _SERVICES.items()}
    files |= {name: f"[Unit]\nX-File={name}\n" for name in _DROP_INS}
    files |= {f"{_ETC}/emptied.service": "", f"{_ETC}/{_WANTS}/plain.service": "[Unit]\n"}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name, target in _LINKS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)


@pytest.mark.needs("systemd as PID 1")
def test_systemd_takes_the_same_from_the_same_directories(tmp_path: Path) -> None:
    root = tmp_path / "box"
    _write(root)
    with systemd(tmp_path, [root / place for place in PLACES]) as manager:
        services = [Path(name).name for name in (*_SERVICES, *_LINKS) if ".target" not in name]
        names = [n for n in {*services, "foo-bar@x.service"} if n.endswith(".service")]
        names = sorted(n for n in names if "@." not in n and n != "site.service")
        told = {n: manager.shows(n) for n in (*names, *(f"{n}.mount" for n in _MOUNTS))}
        services = [line.split()[0] for line in manager.run(
            "systemctl", "list-units", "--plain", "--no-legend", "--state=active", "*.service"
        ).splitlines()]  # fmt: skip
    files = UnitFiles(root)
    boot = Boot(files)
    for name, said in told.items():
        assert files.id(name) == said["Id"]
        assert files.masked(name) == (said["LoadState"] == "masked"), name
        assert files.there(name) == (said["LoadState"] in ("loaded", "bad-setting")), name
        if said["LoadState"] == "loaded":
            paths = [str(Path(p).relative_to(root)) for p in said.get("DropInPaths", "").split()]
            found = [value for key, value in files.settings(name) if key == "X-File"]
            assert found == [path for path in paths if "z.conf" not in path], name
        assert set(boot.said(name).get("After", [])) <= set(said.get("After", "").split()), name
    assert {name for name in names if boot.starts(name)} == {
        name for name in names if told[name]["Id"] in services
    }
    assert "mnt-x.mount" in told["needs.service"]["Requires"].split()
    assert "mnt-x.mount" in boot.pulls("needs.service")
    for name in (f"{name}.mount" for name in _MOUNTS):
        assert bool(mountunits.wrong(boot, name)) == (told[name]["LoadState"] == "bad-setting"), (
            name
        )
        if told[name]["LoadState"] == "loaded":
            assert mountunits.place(files, name) == told[name]["Where"]


@pytest.mark.needs("systemd")
def test_what_a_mounts_unit_is_called() -> None:
    for path in ("/", "/srv/a b", "/.x-y", "//mnt//x/", "/mnt/./x", "/ä/ö:_", "/a\\b"):
        command = ["systemd-escape", "--path", "--suffix=mount", path]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert of_path(path) == done.stdout.strip()
