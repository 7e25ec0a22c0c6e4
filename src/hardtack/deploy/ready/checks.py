"""Every check of `hardtack ready`: a name that stays, what is proven, and what mends it."""

from __future__ import annotations

from enum import StrEnum


class Part(StrEnum):
    """What a check is about; the parts that `ready` can be told to leave out."""

    IMAGES = "images"
    WEIGHTS = "weights"
    CONFIGURATION = "configuration"
    CERTIFICATES = "certificates"
    BOX = "box"


class Check(StrEnum):
    """The names that programs go by, `part.what`; a row of `ready --json` has one. A name is never
    given another meaning, and docs/ready-checks.md lists them."""

    IMAGES_READ = "images.read"
    IMAGES_HERE = "images.here"
    IMAGES_PINNED = "images.pinned"
    IMAGES_LOCKED = "images.locked"
    IMAGES_NAMED = "images.named"
    IMAGES_POLICY = "images.pull-policy"
    IMAGES_PAUSE = "images.pause"
    IMAGES_CREDENTIALS = "images.credentials"
    WEIGHTS_SOURCE = "weights.source"
    WEIGHTS_READ = "weights.read"
    WEIGHTS_LISTED = "weights.listed"
    WEIGHTS_PUBLISHED = "weights.published"
    WEIGHTS_HERE = "weights.here"
    WEIGHTS_VERIFIED = "weights.verified"
    WEIGHTS_PINNED = "weights.pinned"
    CONFIGURATION_READ = "configuration.read"
    CONFIGURATION_NAMED = "configuration.named"
    CONFIGURATION_KNOWN = "configuration.known"
    CERTIFICATES_READ = "certificates.read"
    CERTIFICATES_KEY = "certificates.key"
    CERTIFICATES_BEGUN = "certificates.begun"
    CERTIFICATES_LAST = "certificates.last"
    BOX_READ = "box.read"
    BOX_ROUTE = "box.default-route"
    BOX_ADDRESS = "box.node-address"
    BOX_NODE = "box.node-name"
    BOX_CLOCK = "box.clock"
    BOX_NAMES = "box.names-without-dns"
    BOX_COLLECTION = "box.image-collection"
    BOX_DISK = "box.disk-space"
    BOX_HELPERS = "box.credential-helpers"
    BOX_ORDER = "box.order-of-starts"
    BOX_BOOT = "box.prepared-at-boot"
    BOX_STARTS = "box.started-at-boot"
    BOX_UPCOMING = "box.next-versions"
    BOX_STORAGE = "box.storage"
    BOX_MOUNTS = "box.mounts"
    BOX_CONTROL = "box.control-plane"
    BOX_PULLS = "box.forced-pulls"

    @property
    def part(self) -> Part:
        return Part(self.partition(".")[0])

    @property
    def words(self) -> str:
        """For people: `default route`."""
        return self.partition(".")[2].replace("-", " ").replace("dns", "DNS")


_FETCH, _PREPARE, _HAND = "`ready --fetch`", "`box prepare`", "by hand"
ABOUT: dict[Check, tuple[str, str]] = {
    Check.IMAGES_READ: ("The lock, the manifests and containerd can be read.", _HAND),
    Check.IMAGES_HERE: (
        "Each locked image is complete in containerd's store under the names by which pods ask for "
        "it, or in a bundle that k3s loads when it starts (with `.cache.json` beside them it loads "
        "each once).", _FETCH,
    ),
    Check.IMAGES_PINNED: ("containerd keeps it from garbage collection.", _FETCH),
    Check.IMAGES_LOCKED: (
        "Each image that a manifest names is in the lock, those of the kubelet's static pods among "
        "them; what a list beside the bundles has k3s pull first is on the box.", "`images lock`",
    ),
    Check.IMAGES_NAMED: ("Each place that names an image can be understood.", _HAND),
    Check.IMAGES_POLICY: (
        "Its pull policy asks no registry for what is there.", "`policy check --fix`",
    ),
    Check.IMAGES_PAUSE: (
        "The image with which k3s holds each pod, and that no manifest names, is on the box.",
        "`images lock --k3s-images`, then `ready --fetch`",
    ),
    Check.IMAGES_CREDENTIALS: (
        "The kubelet starts pods from it without asking its registry whether they may have it: "
        "from Kubernetes 1.35 on (1.33 behind a gate) it notes with which pull secret it pulled an "
        "image itself, and asks for pods that have another; "
        "`imagePullCredentialsVerificationPolicy` has it ask for preloaded ones too.", _HAND,
    ),
    Check.WEIGHTS_SOURCE: ("A source of weights is named.", _HAND),
    Check.WEIGHTS_READ: ("The cache can be opened.", _HAND),
    Check.WEIGHTS_LISTED: ("The source was listed.", _FETCH),
    Check.WEIGHTS_PUBLISHED: (
        "The source has a whole version of each detector's model, and no link into nothing.",
        "whoever publishes",
    ),
    Check.WEIGHTS_HERE: (
        "Every file of the version that its server would load is complete.", _FETCH,
    ),
    Check.WEIGHTS_VERIFIED: ("It was verified as a whole, and wasn't touched since.", _FETCH),
    Check.WEIGHTS_PINNED: ("It belongs to a release: it is never evicted.", _FETCH),
    Check.CONFIGURATION_READ: (
        "The file of detectors and the edge configuration can be read.", _HAND,
    ),
    Check.CONFIGURATION_NAMED: ("One of them names a detector.", _HAND),
    Check.CONFIGURATION_KNOWN: (
        "What each detector asks is known without the cloud.", "ask it once with a network",
    ),
    Check.CERTIFICATES_READ: ("Each certificate can be read.", _HAND),
    Check.CERTIFICATES_KEY: ("The endpoint's has its key.", _HAND),
    Check.CERTIFICATES_BEGUN: ("None is valid only later than the clock says.", _PREPARE),
    Check.CERTIFICATES_LAST: (
        "The endpoint's (that of its systemd unit where `--tls-cert` names none), and k3s's "
        "authorities, outlive `--horizon`; k3s renews its others itself, offline, when it starts.",
        _HAND,
    ),
    Check.BOX_READ: ("k3s's own configuration can be read.", _HAND),
    Check.BOX_ROUTE: (
        "Without a cable DHCP gives no route, and k3s refuses to start without one; nobody takes "
        "away the one that needs no cable.", _PREPARE,
    ),
    Check.BOX_ADDRESS: (
        "k3s would take another address, which its certificates don't name; and what it is told to "
        "listen at, or to have flannel use, isn't there without its cable.",
        "`box prepare`; `bind-address`, `advertise-address` and `flannel-iface` by hand",
    ),
    Check.BOX_NODE: (
        "A host name that comes with a lease is another one without: k3s would make another node, "
        "and what is bound to the former one stays away.", _PREPARE,
    ),
    Check.BOX_CLOCK: (
        "With no battery the clock starts in the past, where no certificate is valid yet.",
        _PREPARE,
    ),
    Check.BOX_NAMES: (
        "`localhost` is in `/etc/hosts`; CoreDNS doesn't start from a resolv.conf that names no "
        "server, or none without a lease.",
        "`box prepare`; the server by hand: the file is one that somebody named to k3s, and one "
        "made up would leave pods without names once there is a network",
    ),
    Check.BOX_COLLECTION: (
        "The kubelet removes images that can't be pulled again when the disk fills.", _PREPARE,
    ),
    Check.BOX_DISK: (
        "The kubelet evicts pods from a full disk; no inodes, no files.",
        "`box prepare` (old journals, kept packages); then `cache evict`, `images prune`: which "
        "weights and images can go, only a person knows",
    ),
    Check.BOX_HELPERS: (
        "Each is tried in a namespace with no network: one that doesn't end holds up the start of "
        "pods.",
        "by hand: without it pulls have no credentials, and whether they need any only a person "
        "knows",
    ),
    Check.BOX_ORDER: (
        "A service that is ordered after `network-online.target`, `time-sync.target` or what waits "
        "for these, directly or through others, waits for a network, for minutes or for ever; one "
        "that requires it never starts.", "`box prepare`; what a unit requires by hand",
    ),
    Check.BOX_BOOT: (
        "What `box prepare` does must be done again after a restart, before k3s.", _PREPARE,
    ),
    Check.BOX_STARTS: (
        "systemd starts k3s at boot, without Kubernetes the mounts and the endpoint. Of each that "
        "it starts, the program, the files (k3s's token-file and those of the endpoint's options "
        "too), directories and users that it starts with are there, and the conditions of its unit "
        "hold. Who restarts a container that runs k3s can't be seen from inside it: `restart: "
        "always`, as `deploy/balena-k3s` has it.",
        _HAND,
    ),
    Check.BOX_UPCOMING: (
        "The k3s that starts next is the one that runs: another needs other images of its own. "
        "Each kernel newer than the one that runs has its modules and its initial RAM disk.", _HAND,
    ),
    Check.BOX_STORAGE: (
        "k3s's data, the cache and the endpoint's state lie on a disk of the box that takes "
        "writes, not in memory (an overlay over it neither) or on a server; k3s's where `ready` "
        "looks for it, as its configuration is, and its images.", _HAND,
    ),
    Check.BOX_MOUNTS: (
        "No line of `/etc/fstab` ends the next start in emergency mode (a disk that is gone, a "
        "mount of a bucket without `nofail`), none of `/etc/crypttab` asks for a passphrase; what "
        "these directories lie on is mounted at boot, without a network, and awaited by what needs "
        "it; no disk that isn't mounted now hides them then.",
        "by hand; that k3s awaits the disk with its data: `box prepare`",
    ),
    Check.BOX_CONTROL: (
        "k3s joins no server and no VPN, and keeps neither its state in a database nor its "
        "configuration elsewhere; its kubelet reads no pods from a server.", _HAND,
    ),
    Check.BOX_PULLS: (
        "No admission plugin has each start of a pod ask a registry, over its pull policy.", _HAND,
    ),
}  # fmt: skip
"""What is proven, or why it matters; and what mends it."""


def table() -> str:
    """The checks as a table of Markdown."""
    rows = "\n".join(f"| `{check}` | {what} | {mends} |" for check, (what, mends) in ABOUT.items())
    return f"| check | what is proven, or why | what mends it |\n| --- | --- | --- |\n{rows}\n"
