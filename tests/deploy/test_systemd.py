"""The units of a box without Kubernetes: systemd has nothing to say against them, and no start
waits for a network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from hardtack.cli.main import hardtack
from hardtack.deploy.facts import fstab, systemd
from hardtack.deploy.facts.read import read
from hardtack.deploy.facts.unitfiles import UnitFiles
from hardtack.deploy.ready import filesystems
from tests.support.ready import PROGRAM
from tests.support.systemd import systemd as boot

HERE = Path(__file__).parents[2] / "deploy/systemd"
UNITS = sorted(path.name for path in HERE.iterdir())
INSTANCES = {"hardtack@.service": "hardtack@srv-models.service"}


@pytest.mark.needs("systemd")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_verifies_it(tmp_path: Path, name: str) -> None:
    program = Path(sys.executable).with_name("hardtack")
    for unit in HERE.iterdir():
        text = unit.read_text().replace("=hardtack ", f"={program} ")
        (tmp_path / INSTANCES.get(unit.name, unit.name)).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / INSTANCES.get(name, name)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if "hardtack" in line]
    assert done.returncode == 0, done.stderr
    assert ours == []


def test_no_start_waits_for_a_network(tmp_path: Path) -> None:
    """Told by what `ready` itself looks at."""
    place = tmp_path / "etc/systemd/system"
    place.mkdir(parents=True)
    for unit in HERE.iterdir():
        (place / unit.name).write_text(unit.read_text())
    found = systemd.read(tmp_path)
    assert found is not None
    assert {unit.name for unit in found.units} == {n for n in UNITS if n.endswith(".service")}
    assert not any(unit.waits or unit.impossible for unit in found.units)


_SLEEPS = "[Service]\nExecStart=/bin/sleep infinity\n"
_ORDERED = {
    "site-wait-online.service": "[Unit]\nDefaultDependencies=no\nBefore=network-online.target\n"
    "[Service]\nType=oneshot\nExecStart=/bin/sleep infinity\nTimeoutStartSec=1\n",
    "network-online.target.wants/site-wait-online.service": "",
    "network-online.target": "[Unit]\nDefaultDependencies=no\n",
    "middle.service": "[Unit]\nDefaultDependencies=no\nAfter=site-wait-online.service\n"
    f"Requires=site-wait-online.service\n{_SLEEPS}",
    "sooner.service": "[Unit]\nDefaultDependencies=no\nBefore=k3s.service\n"
    f"Wants=network-online.target\nAfter=network-online.target\n{_SLEEPS}",
}
_WAITER = "site-wait-online.service"


@pytest.mark.needs("systemd as PID 1")
@pytest.mark.parametrize(
    ("unit", "starts", "waits"),
    [
        ("Requires=network-online.target\nAfter=network-online.target", True, True),
        ("Wants=network-online.target\nAfter=network-online.target", True, True),
        ("Requires=site-wait-online.service\nAfter=site-wait-online.service", False, True),
        ("Requires=middle.service\nAfter=middle.service", False, True),
        ("Wants=middle.service\nAfter=middle.service", True, True),
        ("After=middle.service", True, False),  # which nothing starts
        ("Wants=sooner.service", True, True),  # that has k3s wait
    ],
)
def test_systemd_starts_what_ready_says_it_does(
    tmp_path: Path, unit: str, starts: bool, waits: bool
) -> None:
    """The waiter fails, as without a network; `starts`: the unit does all the same, `waits`: after
    that."""
    with boot(tmp_path) as manager:
        for name, text in _ORDERED.items():
            (manager.units / name).parent.mkdir(exist_ok=True)
            file = manager.units / name
            file.write_text(text) if text else file.symlink_to(f"../{_WAITER}")
        text = f"[Unit]\nDefaultDependencies=no\n{unit}\n{_SLEEPS}"
        (manager.units / "k3s.service").write_text(text)
        manager.run("systemctl", "daemon-reload")
        start = manager.entered("systemctl", "start", "k3s.service")
        done = subprocess.run(start, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode == 0) == starts, done.stderr
        assert (manager.shows(_WAITER)["Result"] == "timeout") == waits
    (tmp_path / "box/etc/systemd").mkdir(parents=True)
    (tmp_path / "units").rename(tmp_path / "box/etc/systemd/system")
    found = systemd.read(tmp_path / "box")
    assert found is not None
    (k3s,) = found.units
    assert bool(k3s.impossible) == (not starts)
    assert [waiter.name for waiter in k3s.waits] == ([_WAITER] if waits else [])


@pytest.mark.needs("systemd")
def test_of_drop_ins_of_one_name_the_foremost_counts(tmp_path: Path) -> None:
    """As systemd's own program reads them."""
    unit = "site.service"
    for place in ("etc", "usr/lib"):
        directory = tmp_path / place / "systemd/system" / f"{unit}.d"
        directory.mkdir(parents=True)
        for name in ("same", "masked", place.replace("/", "-")):
            text = f"[Unit]\nDescription={name} of {place}\n"
            (directory / f"{name}.conf").write_text(text)
    masked = tmp_path / f"etc/systemd/system/{unit}.d/masked.conf"
    masked.unlink()
    masked.symlink_to("/dev/null")
    (directory.parent / unit).write_text("[Unit]\nDescription=itself\n")
    done = subprocess.run(
        ["systemd-analyze", "cat-config", f"--root={tmp_path}", f"systemd/system/{unit}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = [ln[12:] for ln in done.stdout.splitlines() if ln.startswith("Description=")]
    assert said == ["itself", "etc of etc", "same of etc", "usr-lib of usr/lib"]
    assert [value for _, value in UnitFiles(tmp_path).settings(unit)] == said


_FSTAB = """\
weights /srv/a fuse.s3fs defaults 0 0
s3fs#weights /srv/b fuse allow_other 0 0
weights /srv/c mount-s3 defaults 0 0
weights /srv/d fuse.rclone _netdev 0 0
weights /srv/e fuse.s3fs nofail 0 0
weights /srv/f rclone noauto 0 0
weights /srv/g s3fs x-systemd.automount 0 0
nas:/share /srv/h nfs defaults 0 0
me@nas:/x /srv/i fuse.sshfs defaults 0 0
UUID=1-2 /srv/j ext4 defaults 0 2
UUID=1-2 /srv/k ext4 nofail 0 2
UUID=1-2 /srv/l/ ext4 defaults 0 2
/dev/vda //srv/./m/ ext4 noauto 0 0
/dev/vda /srv/n\\040o ext4 nofail 0 0
s3://weights /srv/p hardtack cache=/srv/n\\040o/cache 0 0
s3://weights /srv/q hardtack nofail,x-systemd.requires-mounts-for=/srv/k/c,cache=/srv/k/c 0 0
s3://weights /srv/r hardtack _netdev 0 0
s3://weights /srv/s hardtack noauto,x-systemd.automount 0 0
"""


@pytest.mark.needs("systemd")
def test_systemd_takes_fstab_as_ready_does(tmp_path: Path) -> None:
    """What must be mounted before anything starts, by the program that makes units of its lines."""
    for name in ("box/etc/systemd/system", "box/dev/disk/by-uuid", "units", "early", "late"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "box/etc/fstab").write_text(_FSTAB)
    generator = "/lib/systemd/system-generators/systemd-fstab-generator"
    subprocess.run(
        [generator, *(tmp_path / name for name in ("units", "early", "late"))], check=True,
        env={"SYSTEMD_FSTAB": str(tmp_path / "box/etc/fstab")}, capture_output=True,
    )  # fmt: skip
    first = {f.name for f in (tmp_path / "units/local-fs.target.requires").glob("*.mount")}
    assert first == {f"srv-{letter}.mount" for letter in "abcjlp"}
    texts = [file.read_text() for file in (tmp_path / "units").glob("*.mount")]
    assert "RequiresMountsFor=/srv/k/c\n" in (tmp_path / "units/srv-q.mount").read_text()
    places = {ln[6:] for text in texts for ln in text.splitlines() if ln.startswith("Where=")}
    assert {entry.place for entry in fstab.read(tmp_path / "box")} == places
    said = [detail for detail, _ in filesystems.at_boot(read(tmp_path / "box"))]
    assert len(said) == len(first)
    for name in first:
        place = f"/{name.removesuffix('.mount').replace('-', '/')}"
        assert any(place in detail for detail in said)


@pytest.mark.parametrize(
    ("links", "lacks"),
    [
        ({"usr/local": "/mnt/data/local"}, ""),
        ({"usr/local": "../mnt/data/local"}, ""),
        ({"usr/local": "../../../mnt/data/local"}, ""),  # above the root is the root
        ({"usr/local": "/srv", "srv": "mnt/data/local"}, ""),
        ({"usr/local/bin": "/mnt/data/local/bin"}, ""),
        ({"usr/local/bin/hardtack": "/mnt/data/local/bin/hardtack"}, ""),
        ({"usr/local": "/mnt/other"}, "/usr/local/bin/hardtack"),
        ({"usr/local": "/usr/local"}, "/usr/local/bin/hardtack"),
        ({"usr/local/bin": "/mnt/data/local/bin/hardtack"}, "/usr/local/bin/hardtack"),
    ],
)
def test_a_program_is_looked_for_where_links_lead_on_the_box(
    tmp_path: Path, links: dict[str, str], lacks: str
) -> None:
    """The box's root is a directory here, and nothing of ours lies where its links would lead."""
    unit = tmp_path / "etc/systemd/system/hardtack-prepare.service"
    program = tmp_path / "mnt/data/local/bin/hardtack"
    for file, text in (
        (unit, "[Service]\nExecStart=/usr/local/bin/hardtack\n"), (program, PROGRAM),
    ):  # fmt: skip
        file.parent.mkdir(parents=True)
        file.write_text(text)
    program.chmod(0o755)
    for name, target in links.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(target)
    found = systemd.read(tmp_path)
    assert found is not None
    assert [unit.lacks for unit in found.units] == [lacks]


@pytest.mark.parametrize("name", [n for n in UNITS if n.endswith(".service")])
def test_its_command_exists(name: str) -> None:
    (line,) = (ln for ln in (HERE / name).read_text().splitlines() if ln.startswith("ExecStart="))
    program, *words = line.partition("=")[2].split()
    assert program == "hardtack"
    found: click.Command = hardtack
    while words and isinstance(found, click.Group):
        child = found.get_command(click.Context(found), words.pop(0))
        assert child is not None
        found = child
    options = {option for p in found.params for option in p.opts}
    assert {word for word in words if word.startswith("-")} <= options
