"""The kernel, and the programs on top of it: pure, over what was read."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hardtack.deploy.doctor.finding import Finding, note, ok, problem
from hardtack.deploy.facts.kernel import OLDEST, PASSTHROUGH, Kernel
from hardtack.deploy.facts.versions import Versions

PREPARE = "hardtack box prepare does it."
NEEDED = ("cpu", "memory", "pids")
"""The controllers without which the kubelet doesn't start."""


def kernel(found: Kernel, *, root: bool) -> Iterator[Finding]:
    """What the kernel lets hardtack do; `root`: whether it is asked as root."""
    if found.version < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        yield problem("kernel", f"Linux {found.release}", f"Use Linux {wanted} or later.")
    else:
        yield ok("kernel", f"Linux {found.release}")
    if found.fuse:
        yield ok("fuse", "/dev/fuse can be opened")
    else:
        yield problem(
            "fuse", "/dev/fuse is not there, or may not be opened",
            "modprobe fuse; in a container, privileged or --device /dev/fuse.",
        )  # fmt: skip
    yield _passthrough(found, root)
    if found.shared:
        yield ok("propagation", "/ is shared")
    else:
        yield problem("propagation", "/ is not shared: no mount of a pod reaches others", PREPARE)


def _passthrough(found: Kernel, root: bool) -> Finding:
    if found.version < PASSTHROUGH or found.passthrough is False:
        wanted = ".".join(map(str, PASSTHROUGH))
        return note(
            "passthrough", "reads go through the mount's process: slower, the same bytes",
            f"Use Linux {wanted} or later with CONFIG_FUSE_PASSTHROUGH.",
        )  # fmt: skip
    if not root:
        return note("passthrough", "only root's mounts have it", "Mount as root.")
    if found.passthrough is None:
        return ok("passthrough", "the kernel is new enough; its configuration can't be read")
    return ok("passthrough", "the kernel reads cached files itself")


def kubernetes(found: Kernel) -> Iterator[Finding]:
    """What k3s needs of the kernel."""
    missing = [name for name in NEEDED if name not in found.controllers]
    if found.cgroups == 0:
        yield problem("cgroups", "no cgroups are mounted", "Mount cgroup2 on /sys/fs/cgroup.")
    elif "memory" in missing and found.cgroups == 1:
        yield problem(
            "cgroups", "cgroup v1 without the memory controller",
            "Boot with cgroup_enable=memory cgroup_memory=1.",
        )  # fmt: skip
    elif missing:
        yield problem("cgroups", f"v{found.cgroups}, without {', '.join(missing)}", PREPARE)
    elif found.cgroups == 1:
        yield note("cgroups", "v1, which new kubelets refuse", "Boot with cgroup v2.")
    else:
        yield ok("cgroups", f"v2 with {', '.join(sorted(found.controllers))}")
    if found.legacy and found.iptables == "nf_tables":
        yield note(
            "iptables", f"nf_tables, and legacy tables in use ({', '.join(found.legacy)})",
            "Both judge each packet; where the legacy policy is DROP, hardtack box prepare.",
        )  # fmt: skip
    elif not found.iptables:
        yield note("iptables", "not installed: k3s uses its own", "Debian: apt install iptables.")
    else:
        yield ok("iptables", found.iptables)


def versions(found: Versions) -> Iterator[Finding]:
    """k3s and containerd."""
    if found.k3s_error:
        yield problem("k3s", found.k3s_error.message, found.k3s_error.remedy)
    elif found.k3s:
        match = re.match(r"v?1\.(\d+)\.", found.k3s)
        if match and int(match[1]) >= 28:
            yield ok("k3s", found.k3s)
        else:
            yield note("k3s", f"{found.k3s}, older than what is tested", "Use 1.28 or later.")
    if found.unseen:
        yield note(
            "containerd", f"not looked at: {found.unseen} isn't installed",
            "pip install 'hardtack[images]'; in a checkout: pip install '.[images]'.",
        )  # fmt: skip
    elif found.containerd_error:
        remedy = found.containerd_error.remedy or "See its log; hardtack images audit."
        yield problem("containerd", found.containerd_error.message, remedy)
    elif found.containerd:
        yield ok("containerd", found.containerd)
    elif found.k3s:
        yield note("containerd", "doesn't run", "Start k3s.")
