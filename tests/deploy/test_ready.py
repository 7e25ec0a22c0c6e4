"""A box that is ready says so; each thing that it needs, taken away, is named."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from hardtack.deploy.facts import kubelet
from hardtack.deploy.prepare.run import NAMES
from hardtack.deploy.ready.box import CHECKS
from hardtack.deploy.ready.checks import Check
from tests.support.commands import HARDTACK, run
from tests.support.others import open_to_all, run_as_other
from tests.support.ready import CHOSEN, ReadyBox, open_cache, ready_box, ship, write_root
from tests.support.waiting import until

pytestmark = pytest.mark.needs("registry")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ship(tmp_path_factory.mktemp("factory"))


@pytest.fixture
def box(tmp_path: Path, shipped: Path) -> ReadyBox:
    return ready_box(tmp_path, shipped)


def test_ready(box: ReadyBox) -> None:
    done = box.ready()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "READY"
    assert box.amiss() == []


def test_ready_of_a_chart_with_the_values_it_is_installed_with(box: ReadyBox) -> None:
    """What the chart's own values name isn't on the box; what --values sets over them is."""
    chart, image = box.manifests / "cam", box.image
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: cam\nversion: 1.0.0\n")
    (chart / "values.yaml").write_text("worker: quay.io/acme/absent:1\n")
    (chart / "templates/pod.yaml").write_text(
        (box.manifests / "pod.yaml").read_text().replace(image, "{{ .Values.worker }}")
    )
    values = box.directory / "line2.yaml"
    values.write_text(f"worker: {image}\n")
    assert any("quay.io/acme/absent:1" in str(row) for row in box.amiss())
    assert box.amiss("--values", values) == []


def _bundle(box: ReadyBox) -> Path:
    return next(box.images.glob("images-*.tar"))


def _content(box: ReadyBox, size: int) -> Path:
    files = (box.directory / "cache/content").glob("??/*.data")
    return next(file for file in files if file.stat().st_size == size)


def _manifest(box: ReadyBox, old: str, new: str) -> None:
    file = box.manifests / "pod.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _flip_model(box: ReadyBox) -> None:
    _flip(_content(box, (box.model() / "model.onnx").stat().st_size))


def _evict(box: ReadyBox) -> None:
    with open_cache(box) as cache:
        cache.unpin("june")
        cache.evict(["*/model.onnx"])


def _unpin(box: ReadyBox) -> None:
    with open_cache(box) as cache:
        cache.unpin("june")


def _relist(box: ReadyBox) -> None:
    with open_cache(box) as cache:
        cache.refresh()


def _republish(box: ReadyBox) -> None:
    """A newer version, listed and not fetched: it is what the endpoint would load."""
    shutil.copytree(box.model(), box.model().with_name("2"))
    with (box.model().with_name("2") / "model.toml").open("a") as file:
        file.write("# newer\n")
    _relist(box)


def _withdraw(box: ReadyBox) -> None:
    """The mode, which the model would have said, is given."""
    file = box.directory / "detectors.json"
    file.write_text(file.read_text().replace('"name":', '"mode": "binary", "name":'))
    shutil.rmtree(box.model().parent)
    _relist(box)


def _cut_short(box: ReadyBox) -> None:
    """The source itself holds a package that isn't whole."""
    (box.model() / "model.onnx").unlink()
    _relist(box)


def _edge_config(box: ReadyBox, detector: str, name: str) -> None:
    (box.directory / "state").mkdir(exist_ok=True)
    entry = {"detector_id": detector, "edge_inference_config": name}
    (box.directory / "state/edge-config.yaml").write_text(json.dumps({"detectors": [entry]}))


def _own(box: ReadyBox) -> None:
    """Somebody else works on the cache, and answers no questions."""
    fd = os.open(box.directory / "cache/owner.lock", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)


def _other_key(box: ReadyBox) -> None:
    """The endpoint's own pair, as a power cut may leave it: it would not start with it."""
    directory = box.directory / "state/tls"
    directory.mkdir(parents=True)
    one, other = (trustme.CA().issue_cert("box") for _ in range(2))
    one.cert_chain_pems[0].write_to_path(directory / "certificate.pem")
    other.private_key_pem.write_to_path(directory / "key.pem")


def _other_pause(box: ReadyBox) -> None:
    with (box.root / "etc/rancher/k3s/config.yaml").open("a") as file:
        file.write("pause-image: registry.example/pause:9\n")


def _static(box: ReadyBox, name: str, image: str) -> None:
    """A pod that the kubelet starts by itself."""
    file = box.root / "var/lib/rancher/k3s/agent/pod-manifests" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text((box.manifests / "pod.yaml").read_text().replace(box.image, image))


def _static_elsewhere(box: ReadyBox, directory: str) -> None:
    _static(box, "pod.yaml", "site/led:v1")
    here = box.root / "var/lib/rancher/k3s/agent/pod-manifests"
    here.rename(box.root / directory)
    file = box.root / kubelet.DROP_INS / "50-site.conf"
    file.parent.mkdir(parents=True)
    file.write_text(f"kind: KubeletConfiguration\nstaticPodPath: /{directory}\n")


def _verify_credentials(box: ReadyBox) -> None:
    file = box.root / kubelet.DROP_INS / "50-site.conf"
    file.parent.mkdir(parents=True)
    file.write_text(f"kind: KubeletConfiguration\n{kubelet.CREDENTIALS}: AlwaysVerify\n")


def _no_certificate(box: ReadyBox) -> None:
    (box.directory / "state/tls").mkdir(parents=True)
    (box.directory / "state/tls/certificate.pem").write_text("nonsense")


UNKNOWN = "det_" + "z" * 27
BREAKS: dict[str, tuple[Callable[[ReadyBox], object], str, str]] = {
    "no lock": (lambda b: (b.directory / "images.lock").unlink(), "images.read", "doesn't exist"),
    "no bundle": (lambda b: _bundle(b).unlink(), "images.here", "in no bundle"),
    "a byte of the bundle": (lambda b: _flip(_bundle(b)), "images.here", "other bytes"),
    "pull policy": (
        lambda b: _manifest(b, "IfNotPresent", "Always"), "images.pull-policy", "Always",
    ),
    "image not locked": (
        lambda b: _manifest(b, "camera:v1", "camera:v2"), "images.locked", "lock does",
    ),
    "a static pod": (
        lambda b: _static(b, "led.yaml", "site/led:v1"), "images.locked",
        "pod-manifests/led.yaml:7 names it, images.lock doesn't",
    ),
    "a static pod elsewhere": (
        lambda b: _static_elsewhere(b, "pods"), "images.locked", "/pods/pod.yaml:7 names it",
    ),
    "a static pod that isn't called a manifest": (
        lambda b: _static(b, "led.yaml.bak", "site/led:v1"), "images.read",
        "the kubelet starts the pod",
    ),
    "another image for pods": (_other_pause, "images.pause", "neither locked nor"),
    "images that k3s pulls first": (
        lambda b: (b.images / "site.txt").write_text("# more\nregistry.example/site/reader:v2\n"),
        "images.locked", "site.txt:2 has k3s pull it when it starts",
    ),
    "bundles that k3s loads once": (
        lambda b: (b.images / ".cache.json").write_text(""), "images.here", "loads no bundle twice",
    ),
    "a registry that is asked for images that are here": (
        _verify_credentials, "images.credentials", "Policy: AlwaysVerify",
    ),
    "a manifest that can't be read": (
        lambda b: (b.manifests / "more.yaml").write_text("kind: {"),
        "images.read", "malformed YAML",
    ),
    "an empty deployment": (
        lambda b: (b.manifests / "pod.yaml").unlink(), "images.read", "names no image",
    ),
    "a key of another certificate": (_other_key, "certificates.key", "can't be served"),
    "model evicted": (_evict, "weights.here", "model.onnx is absent"),
    "a byte of the model": (_flip_model, "weights.verified", "not verified"),
    "not pinned": (_unpin, "weights.pinned", "in no release"),
    "newer version": (_republish, "weights.here", "primary/2/model.onnx is absent"),
    "no version": (_withdraw, "weights.published", "no version of a model"),
    "half a version": (_cut_short, "weights.published", "model.onnx is not listed"),
    "no cache": (lambda b: shutil.rmtree(b.directory / "cache"), "weights.listed", "never listed"),
    "no detectors": (
        lambda b: (b.directory / "detectors.json").unlink(), "configuration.read", "detectors.json",
    ),
    "unknown detector": (
        lambda b: _edge_config(b, UNKNOWN, "default"), "configuration.known", "what it asks",
    ),
    "bad configuration": (
        lambda b: _edge_config(b, CHOSEN[0].id, "speedy"), "configuration.read", "speedy",
    ),
    "an image that can't be told": (
        lambda b: _manifest(b, b.image, "'{{ image }}'"), "images.named", "can't be told",
    ),
    "a chart that isn't among the files": (
        lambda b: (b.manifests / "gpu.yaml").write_text(
            "apiVersion: helm.cattle.io/v1\nkind: HelmChart\nspec: {chart: gpu}\n"
        ),
        "images.named", "k3s takes this chart from a repository",
    ),
    "an image that a program starts": (
        lambda b: (b.manifests / "settings.yaml").write_text(
            "kind: ConfigMap\nmetadata: {name: c}\ndata: {WORKER_IMAGE: 'a/worker:1'}\n"
        ),
        "images.locked", "settings.yaml:3 names it",
    ),
    "a cache that another owns": (_own, "weights.read", "cache"),
    "no detector": (
        lambda b: (b.directory / "detectors.json").write_text('{"detectors": []}'),
        "configuration.named", "neither",
    ),
    "a given certificate that is none": (
        _no_certificate, "certificates.read", "can't be read",
    ),
    "a configuration that k3s can't read": (
        lambda b: (b.root / "etc/rancher/k3s/config.yaml").write_text("node-ip: ["),
        "box.read", "config.yaml:1:11: malformed YAML",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_named(box: ReadyBox, name: str) -> None:
    damage, check, text = BREAKS[name]
    damage(box)
    rows = box.amiss()
    said = [row for row in rows if row["check"] == check and text in row["detail"]]
    assert said, rows
    assert all(row["remedy"] for row in rows)


def test_static_pods_whose_images_are_here(box: ReadyBox) -> None:
    """A directory there the kubelet doesn't read, nor what is hidden, nor what it isn't told of."""
    _static(box, "camera.yaml", box.image)
    _static(box, ".led.yaml", "site/led:v1")
    _static(box, "old/led.yaml", "site/led:v1")
    assert box.amiss() == []
    _static(box, "led.yaml", "site/led:v1")
    with (box.root / "etc/rancher/k3s/config.yaml").open("a") as file:
        file.write("  - pod-manifest-path=\n")
    assert box.amiss() == []


ELSEWHERE = {
    "images.pinned",  # test_ready_fetch
    "weights.source",  # below
    "certificates.begun", "certificates.last",  # test_ready_box
}  # fmt: skip


def test_every_check_can_fail() -> None:
    """Those of the box itself are broken in test_ready_box."""
    broken = {check for _, check, _ in BREAKS.values()} | ELSEWHERE
    assert {c.value for c in Check if c not in CHECKS} == broken


def test_a_socket_outlives_its_containerd(box: ReadyBox) -> None:
    """Then the bundles are what k3s will have."""
    dead = box.directory / "dead.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(dead))
    assert box.amiss("--socket", dead) == []
    assert box.ready("--socket", dead, "--fetch").returncode == 0
    done = box.hardtack("doctor", "--offline", "--socket", dead, "--root", box.root)
    assert f"containerd at {dead} doesn't answer (Version): nobody listens there." in done.stdout
    assert "containerd: " in done.stderr


def test_no_source_is_named(box: ReadyBox) -> None:
    done = box.hardtack("ready", "--json", "--without", "images", "--without", "box")
    assert "weights.source" in [row["check"] for row in json.loads(done.stdout)["rows"]]


def test_weights_left_out_leave_the_configuration_in(box: ReadyBox) -> None:
    """What is known of the models says their detectors' modes; where nothing is, that is told."""
    assert box.amiss("--without", "weights") == []
    shutil.rmtree(box.directory / "cache")
    (row,) = box.amiss("--without", "weights")
    assert row["check"] == "configuration.read"
    assert "leaves modes to the models" in row["detail"]
    file = box.directory / "detectors.json"
    file.write_text(file.read_text().replace('"name":', '"mode": "binary", "name":'))
    assert box.amiss("--without", "weights") == []


@pytest.mark.needs("root")
@pytest.mark.parametrize("closed", ["server", "server/tls", "agent/etc/kubelet.conf.d"])
def test_what_may_not_be_looked_into_is_not_passed_over(box: ReadyBox, closed: str) -> None:
    """k3s's directories are root's alone; what a person may not see is no proof of anything."""
    data = box.root / "var/lib/rancher/k3s"
    for name in ("server/tls", "agent/etc/kubelet.conf.d"):
        (data / name).mkdir(parents=True, exist_ok=True)
    (data / closed).chmod(0o700)
    command = box.command("--without", "images", "--without", "weights", "--without",
                          "configuration")  # fmt: skip
    with open_to_all(box.directory):
        done = run_as_other(*command)
    assert done.returncode != 0, done.stdout
    assert "ermission denied" in done.stdout + done.stderr
    assert "Run it as root" in done.stderr


def _closed_drop_ins(box: ReadyBox) -> Path:
    """k3s makes its agent's directory for root alone."""
    directory = box.root / kubelet.DROP_INS
    directory.mkdir(parents=True)
    return directory


def _closed_list(box: ReadyBox) -> Path:
    file = box.images / "k3s-images.txt"
    file.write_text("rancher/klipper-lb:v0.4\n")
    return file


def _closed_program(box: ReadyBox) -> Path:
    unit = box.root / "etc/systemd/system/hardtack-prepare.service"
    unit.write_text("[Service]\nExecStart=/root/.local/bin/hardtack box prepare\n")
    directory = box.root / "root"
    (directory / ".local/bin").mkdir(parents=True)
    return directory


def _closed_unit(box: ReadyBox) -> Path:
    return box.root / "etc/systemd/system/k3s.service"


def _closed_environment(box: ReadyBox) -> Path:
    """As k3s's installer writes it."""
    unit = box.root / "etc/systemd/system/k3s.service"
    unit.write_text(f"[Service]\nEnvironmentFile=-/etc/systemd/system/{unit.name}.env\n")
    file = unit.with_name(f"{unit.name}.env")
    file.write_text("K3S_URL=https://10.0.0.5:6443\n")
    return file


@pytest.mark.needs("root")
@pytest.mark.parametrize(
    ("close", "wrong"),
    [
        (_closed_unit, {"images.read", "box.read"}),
        (_closed_environment, {"images.read", "box.read"}),
        (_closed_drop_ins, {"images.read", "box.read"}),
        (_closed_list, {"images.read"}),
        (_closed_program, {"box.read"}),
    ],
)
def test_what_may_not_be_read_ends_no_look_but_its_own(
    box: ReadyBox, close: Callable[[ReadyBox], Path], wrong: set[str]
) -> None:
    closed = close(box)
    closed.chmod(0o700 if closed.is_dir() else 0o600)
    command = box.command("--json", "--without", "weights", "--without", "configuration")
    with open_to_all(box.directory):
        done = run_as_other(*command, cwd=box.directory)
    assert done.returncode == 1, done.stderr
    amiss = [row for row in json.loads(done.stdout)["rows"] if row["state"] != "ready"]
    assert {row["check"] for row in amiss} == wrong
    for row in amiss:
        assert str(closed) in row["detail"]
        assert "ermission denied" in row["detail"]
        assert row["remedy"] == "Run it as root."


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (("ready", "--horizon", "30"), "'--horizon': 30 s is over before anyone sees"),
        (("ready", "--watch", "--every", "0"), "'--every': 0 is less than 100ms"),
        (("ready", "--root", "/none"), "Directory '/none' does not exist"),
        (("ready", "--without", "box.clok"), "'box.clok' is not one of"),
        (("doctor", "--root", "/none"), "Directory '/none' does not exist"),
        (("doctor", "--timeout", "0"), "'--timeout': 0 is less than 100ms"),
        (("box", "clock", "--watch", "--every", "0"), "'--every': 0 is less than 100ms"),
        (("box", "prepare", "--dry-run", "--root", "/none"), "'/none' does not exist"),
        (("box", "prepare", "--dry-run", "--node-address", "1.2.3"), "'1.2.3' is no IPv4 address"),
        (("box", "prepare", "--dry-run", "--node-address", "127.0.0.1"), "No node can have"),
    ],
)
def test_what_can_only_be_meant_otherwise_is_refused(mistake: tuple[str, ...], said: str) -> None:
    done = run(*mistake)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.needs("root")
@pytest.mark.parametrize(
    "command",
    [("ready", "--watch", "--state", "/var/lib/hardtack-of-root"),
     ("box", "prepare", "--dry-run")],
)  # fmt: skip
def test_who_has_no_rights_is_told_what_helps(command: tuple[str, ...]) -> None:
    done = run_as_other(*HARDTACK, *command)
    assert done.returncode not in (0, 1, 2), done.stdout
    assert "ermission denied" in done.stderr
    assert "  Run it as root" in done.stderr


@pytest.mark.needs("root")
def test_who_may_not_read_a_manifest_is_told_what_helps(box: ReadyBox) -> None:
    (box.manifests / "pod.yaml").chmod(0o600)
    command = box.command("--json", "--without", "weights", "--without", "configuration")
    with open_to_all(box.directory):
        done = run_as_other(*command, cwd=box.directory)
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    row = rows[f"{box.manifests / 'pod.yaml'}:1"]
    assert (row["check"], row["remedy"]) == ("images.read", "Run it as root.")


@pytest.mark.needs("root")
def test_a_dry_run_goes_on_after_what_it_may_not_look_into() -> None:
    command = (*HARDTACK, "box", "prepare", "--dry-run", "--json")
    done = run_as_other(*command)
    steps = {step["step"]: step for step in json.loads(done.stdout)["steps"]}
    assert list(steps) == list(NAMES)
    assert "ermission denied" in steps["portmap"]["unseen"]
    assert steps["flavour"]["changes"]
    assert done.returncode not in (0, 1, 2)


def test_a_dry_run_says_once_why_it_cant_look(tmp_path: Path) -> None:
    write_root(tmp_path)
    config = tmp_path / "etc/rancher/k3s/config.yaml"
    config.write_bytes(bytes(200))
    done = run("box", "prepare", "--dry-run", "--root", tmp_path, "--images", "/none")
    assert done.returncode == 95
    assert done.stderr.count("config.yaml: it holds zeros, as a power cut leaves them") == 1
    assert "can't be said: space, portmap, forward, route" in done.stderr
    assert "--images: there is no directory /none: no images are installed from it" in done.stderr


def test_a_directory_in_the_place_of_a_file_is_told_with_what_helps(tmp_path: Path) -> None:
    """Rights have nothing to do with it."""
    write_root(tmp_path)
    (tmp_path / "etc/fstab").mkdir()
    done = run("box", "prepare", "--dry-run", "--root", tmp_path)
    assert done.returncode == 95
    assert f"({tmp_path}/etc/fstab: Is a directory)" in done.stderr
    assert "  Mend it, then look again." in done.stderr


def test_one_check_can_be_left_out(box: ReadyBox) -> None:
    """A node of a cluster whose server's cable isn't the one that is pulled."""
    with (box.root / "etc/rancher/k3s/config.yaml").open("a") as file:
        file.write("server: https://10.0.0.5:6443\n")
    assert [row["check"] for row in box.amiss()] == ["box.control-plane"]
    assert box.amiss("--without", "box.control-plane") == []


def test_a_watch_tells_programs_too(box: ReadyBox) -> None:
    with box.watching("--every", "200ms", "--json") as watch:
        told = json.loads("".join(watch.lines("}")))
    assert told["ready"] is True


def test_the_verdict_is_kept(box: ReadyBox, tmp_path: Path) -> None:
    """`--watch` writes it for the page and for Prometheus, and tells of a change."""
    state, text = box.directory / "state", tmp_path / "hardtack.prom"
    with box.watching("--every", "200ms", "--textfile", text) as watch:
        assert len(watch.lines("READY\n")) > 1
        told = json.loads((state / "ready.json").read_text())
        assert told["ready"] is True
        assert told["missing"] == told["checks"] == []
        _bundle(box).unlink()
        watch.lines("NOT READY: 2")
        told = json.loads((state / "ready.json").read_text())
    assert told["ready"] is False
    assert told["checks"] == ["images.here"]
    assert "in no bundle" in told["missing"][0]
    assert abs(told["at"] - time.time()) < 120
    assert "hardtack_ready 0\n" in text.read_text()
    assert 'hardtack_ready_amiss{check="images.here"} 2\n' in text.read_text()
    assert 'hardtack_ready_amiss{check="box.clock"} 0\n' in text.read_text()


@pytest.mark.needs("root")
def test_a_watch_goes_on_on_a_full_disk(box: ReadyBox) -> None:
    """It is who tells of that."""
    state = box.directory / "state"
    state.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", state], check=True)
    try:
        with (state / "full").open("wb", 0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        with box.watching("--every", "200ms", "--note-time") as watch:
            said = watch.lines("NOT READY")
            assert any("disk space" in line and "has 0 B free" in line for line in said)
            (state / "full").unlink()
            until((state / "ready.json").exists)
    finally:
        subprocess.run(["umount", state], check=True)
    assert f"hardtack: {state / 'ready.json'}: No space left on device." in watch.log.read_text()
