"""Commands that fetch or start images: what they name, behind options of every kind."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardtack.manifests.model import Kind
from hardtack.manifests.shell import pulled
from tests.manifests.test_scan import brief, scanned


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("crane export rancher/k3s:${V} - | tar -x", ["rancher/k3s:v1.31.5-k3s1"]),
        ("crane export --platform linux/arm64 a/b:1 b.tar", ["a/b:1"]),
        ("cat b.tar | crane export - out.tar", []),
        ("crane pull -c /cache a/b:1 a/c:1 two.tar", ["a/b:1", "a/c:1"]),
        ("crane copy -a a/b:1 localhost:5000/b", ["a/b:1"]),
        ("crane cp -j 2 a/b:1 localhost:5000/b:1", ["a/b:1"]),
        ("crane append -b a/b:1 -f l.tar -t localhost:5000/b:1", ["a/b:1"]),
        ("crane digest a/b:1; crane manifest a/b:1; crane config a/b:1; crane ls a/b", []),
        ("skopeo copy -a docker://a/b:1 oci:b", ["a/b:1"]),
        ("skopeo copy --src-tls-verify=false docker://a/b:1 oci:b", ["a/b:1"]),
        ("skopeo copy oci:b docker://localhost:5000/b:1", []),
        ("skopeo sync -s docker -d dir a/b:1 /usb", ["a/b:1"]),
        ("skopeo sync --src dir --dest docker /usb localhost:5000", []),
        ("skopeo inspect docker://a/b:1", []),
        ("ctr -a /run/c.sock -n k8s.io images pull -u me:pw a/b:1", ["a/b:1"]),
        ("k3s ctr content fetch --platform linux/amd64 a/b:1", ["a/b:1"]),
        ("podman pull -a a/b:1", ["a/b:1"]),
        ("podman image pull a/b:1 a/c:1", ["a/b:1", "a/c:1"]),
        ("docker --context box pull -q a/b:1", ["a/b:1"]),
        ("nerdctl -n k8s.io image pull a/b:1", ["a/b:1"]),
        ("crictl pull --creds me:pw a/b:1", ["a/b:1"]),
        ("docker pull", []),
    ],
)
def test_commands_that_fetch_an_image(tmp_path: Path, command: str, named: list[str]) -> None:
    result = scanned(tmp_path, {"get.sh": f"V=v1.31.5-k3s1\n{command}\n"})
    assert [brief(image)[::2] for image in result.images] == [(2, name) for name in named]


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("ctr images pull --label k=v a/b:1", ["a/b:1"]),
        ("ctr -n k8s.io image pull --label=k=v --snapshotter native --hosts-dir /c -u m:p a/b:1",
         ["a/b:1"]),
        ("ctr -namespace k8s.io i pull -plain-http -max-concurrent-downloads 2 -k a/b:1",
         ["a/b:1"]),
        ("ctr --connect-timeout 5s content fetch --tlscacert /ca --all-platforms a/b:1", ["a/b:1"]),
        ("ctr run --rm -t --mount type=bind,src=/a,dst=/b --net-host a/b:1 one sh -c 'x y'",
         ["a/b:1"]),
        ("ctr run --rootfs -d /srv/root two", []),
        ("ctr c create --env A=b --gpus 0 a/b:1 three", ["a/b:1"]),
        ("k3s ctr images pull --user me:pw a/b:1", ["a/b:1"]),
        ("crictl --timeout 30s -D pull --pod-config p.json --auth abc -a k=v a/b:1", ["a/b:1"]),
        ("crane --platform linux/arm64 pull --format oci --annotate-ref a/b:1 out", ["a/b:1"]),
        ("crane copy -a --jobs 4 -n a/b:1 localhost:5000/b --insecure", ["a/b:1"]),
        ("crane append --new_layer l.tar --base a/b:1 -t localhost:5000/b:1", ["a/b:1"]),
        ("skopeo --override-os linux --tmpdir /t copy --retry-times 3 --src-creds m:p -q "
         "--dest-shared-blob-dir /d docker://a/b:1 oci:b", ["a/b:1"]),
        ("skopeo copy --multi-arch all --sign-by X --digestfile d docker://a/b:1 dir:b",
         ["a/b:1"]),
        ("skopeo sync --keep-going --src docker --dest dir --retry-times 2 a/b:1 /usb", ["a/b:1"]),
        ("docker --log-level debug pull --platform linux/arm64 -q a/b:1", ["a/b:1"]),
        ("docker run -d --name web -p 80:80 -e A=b --restart always a/b:1 serve --port 80",
         ["a/b:1"]),
        ("docker run -itv /a:/b -eX=y -p80:80 --memory-swap -1 a/b:1", ["a/b:1"]),
        ("docker run --rm --entrypoint sh --gpus all a/b:1 -c 'docker pull a/c:1'",
         ["a/c:1", "a/b:1"]),
        ("docker create --init --cpuset-cpus 0-3 a/b:1 --rootfs x", ["a/b:1"]),
        ("docker container run --health-cmd 'curl x; exit 1' a/b:1", ["a/b:1"]),
        ("docker run -e 'A=1;B=2' --label a=b a/b:1", ["a/b:1"]),
        ("docker exec web docker-run a/b:1; docker tag a/b:1 a/b:2; docker compose run x", []),
        ("balena-engine pull a/b:1", ["a/b:1"]),
        ("podman pull --tls-verify=false --retry 3 --creds m:p docker://a/b:1 a/c:1",
         ["a/b:1", "a/c:1"]),
        ("podman run --replace --tz local --userns keep-id --pull newer a/b:1", ["a/b:1"]),
        ("podman pull oci-archive:/usb/b.tar", []),
        ("podman pull a/b:1 > log 2>&1", ["a/b:1"]),
        ("nerdctl --address /run/k3s/c.sock -n k8s.io pull --all-platforms a/b:1", ["a/b:1"]),
        ("nerdctl run --cgroup-conf a=b --umask 022 -d a/b:1", ["a/b:1"]),
        ("buildah from --name x --pull a/b:1", ["a/b:1"]),
        ("kubectl -n x run p --rm -i --image=a/b:1 --restart=Never -- sh -c ls", ["a/b:1"]),
        ("kubectl create deployment d --image a/b:1 --image a/c:1", ["a/b:1", "a/c:1"]),
        ("kubectl set image deploy/d main=a/b:1 side=a/c:1", ["a/b:1", "a/c:1"]),
        ("sudo -u me env X=y timeout 30 nice -n 5 docker pull a/b:1", ["a/b:1"]),
        ("HTTPS_PROXY=http://p:3128 docker pull a/b:1", ["a/b:1"]),
        ("id=$(docker create a/b:1)", ["a/b:1"]),
        ('docker cp "$(docker create a/b:1):/x" .', ["a/b:1"]),
        ("ssh box 'sudo docker pull a/b:1'; su - me -c 'podman pull a/c:1'", ["a/b:1", "a/c:1"]),
        ("bash -euc 'docker pull a/b:1 && docker pull a/c:1'", ["a/b:1", "a/c:1"]),
        ("echo first; echo 'then; docker pull a/x:1' && echo docker pull a/y:1", []),
        ("if ! docker image inspect a/b:1; then docker pull a/b:1; fi", ["a/b:1"]),
        ("for i in a/b:1 a/c:1; do docker pull $i; done", ["a/b:1", "a/c:1"]),
        ("ALL=(a/b:1 a/c:1); for i in \"${ALL[@]}\"; do docker pull \"$i\"; done",
         ["a/b:1", "a/c:1"]),
        ("ALL='a/b:1 a/c:1'; for i in $ALL a/d:1; do docker pull $i; done",
         ["a/b:1", "a/c:1", "a/d:1"]),
        ("OPTS='-d --name x'; docker run $OPTS a/b:1", ["a/b:1"]),
        ("docker run $DOCKER_OPTS --rm a/b:1", ["a/b:1"]),
        ('docker run "${ARGS[@]}" a/b:1', ["a/b:1"]),
        ("docker run $IMAGE sleep 1", ["?"]),
        ("docker pull $(cat image.txt)", ["?"]),
        ("for i in $(cat images.txt); do docker pull $i; done", ["?"]),
        ("[ -n \"$X\" ] || X=2; docker pull a/b:$X", ["?"]),
    ],
)  # fmt: skip
def test_options_of_every_program(tmp_path: Path, command: str, named: list[str]) -> None:
    result = scanned(tmp_path, {"get.sh": f"set -e\n{command}\n"})
    assert [brief(image)[::2] for image in result.images] == [(2, name) for name in named]
    assert not [image.raw for image in result.images if image.malformed]


def test_a_script_of_an_installer(tmp_path: Path) -> None:
    text = (
        "#!/bin/bash\n# what the box needs: docker pull a/no:1\nIMAGES=(\n  # don't\n"
        '  a/b:1\n  a/c:1\n)\nfor image in "${IMAGES[@]}"; do\n'
        '  sudo k3s ctr -n k8s.io images pull --label k=v "$image"\ndone\n'
        "docker run -d \\\n  --name web \\\n  a/web:1 \\\n  --verbose\n"
        "ssh box <<'EOF'\npodman pull a/d:1\nEOF\n"
    )
    result = scanned(tmp_path, {"install.sh": text})
    assert [brief(image) for image in result.images] == [
        (9, "ctr pull", "a/b:1"), (9, "ctr pull", "a/c:1"), (13, "docker run", "a/web:1"),
        (16, "podman pull", "a/d:1"),
    ]  # fmt: skip


def test_commands_of_a_dockerfile(tmp_path: Path) -> None:
    text = (
        "FROM scratch\nRUN docker pull \\\n    # the one\n    --platform linux/arm64 a/b:1\n"
        "RUN <<EOF\nset -e\nfor i in a/c:1 a/d:1; do\n  skopeo copy docker://$i dir:/$i\ndone\n"
        'EOF\nCMD ["docker", "run", "-e", "A=b c", "--rm", "a/e:1"]\n'
    )
    images = scanned(tmp_path, {"Dockerfile": text}).images
    assert [brief(image)[::2] for image in images] == [
        (4, "a/b:1"), (8, "a/c:1"), (8, "a/d:1"), (11, "a/e:1")
    ]  # fmt: skip
    assert images[0].platforms == ("linux/arm64",)


def test_commands_of_containers_and_configmaps(tmp_path: Path) -> None:
    pod = (
        "kind: Pod\nspec:\n  containers:\n  - image: a/docker:1\n    command: [sudo, docker, run]\n"
        "    args: [-e, A=b c, --name, x, a/b:1, serve]\n    lifecycle:\n      postStart:\n"
        "        exec:\n          command: [sh, -c, ctr i pull --label k=v a/c:1]\n"
    )
    script = "kind: ConfigMap\ndata:\n  run.sh: |\n    nice docker run --cpus 2 \\\n      a/d:1\n"
    result = scanned(tmp_path, {"p.yaml": pod, "q.yaml": script})
    assert [(i.kind, i.place.line, i.raw) for i in result.images] == [
        (Kind.CONTAINER, 4, "a/docker:1"), (Kind.STARTED, 6, "a/b:1"), (Kind.COMMAND, 10, "a/c:1"),
        (Kind.STARTED, 5, "a/d:1"),
    ]  # fmt: skip


PIECES = ["docker", " run ", " pull ", "-e ", "--x=", "a/b:1", "$(", ")", "`", "'", '"', "|",
          "\\\n", "\n", "for i in ", "; do ", "A=(", "$A", "${A[@]}", "<<E", "E\n", "sh -c ",
          "ssh b ", "&&", "{ ", "}", "# "]  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=40).map("".join))
def test_any_text_passes_the_shell_reader(text: str) -> None:
    lines = text.count("\n") + 1
    assert all(0 <= line < lines for line, *_ in pulled(text))
