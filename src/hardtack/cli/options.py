"""The options that several commands share, each declared once.

Every option is a flag, an environment variable and a key of hardtack.toml of the same name.
The environment of mount-s3 sidecars (`S3_BUCKET`, `S3_REGION`, `MOUNT_PATH`, `CACHE_PATH`) works
too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hardtack.core.errors import ConfigError
from hardtack.core.units import parse_duration, parse_size

if TYPE_CHECKING:  # imported by the commands that read weights
    from hardtack.cache.api import Options
    from hardtack.source.options import SourceOptions

_SHORTEST = 0.1
Command = TypeVar("Command", bound=Callable[..., Any])


class Parsed(click.ParamType[Any]):
    """A parameter read by a function, such as those of core.units."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


class Existing(click.Path[Path]):
    """A file or a directory that is there; a link to nothing is told as one."""

    def __init__(self, *, files: bool = True, directories: bool = True) -> None:
        super().__init__(exists=True, file_okay=files, dir_okay=directories, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(value)
        if path.is_symlink() and not path.exists():
            to = Path(path.parent, os.readlink(path))
            self.fail(f"{self.name.title()} '{path}' is a link to '{to}', which isn't there.",
                      param, ctx)  # fmt: skip
        return super().convert(value, param, ctx)


def _pause(text: str) -> float:
    seconds = parse_duration(text)
    if seconds < _SHORTEST:
        raise ConfigError(f"{text} is less than 100ms; write it like 5m.")
    return seconds


def _batch_window(text: str) -> float:
    seconds = parse_duration(text)
    if seconds > 1:
        raise ConfigError(
            f"{text!r} is {seconds:g} s; pictures wait for others at most 1s.",
            remedy="A few milliseconds are usual: 5ms.",
        )
    return seconds


def _cache_size(text: str) -> int:
    from hardtack.cache.api import parse_limit

    return parse_limit(text)


SIZE = Parsed("size", parse_size)
CACHE_SIZE = Parsed("size", _cache_size)
DURATION = Parsed("duration", parse_duration)
PAUSE = Parsed("duration", _pause)
BATCH_WINDOW = Parsed("duration", _batch_window)
RATE = Parsed("rate", parse_size)
MOUNTPOINT = Parsed("directory", Path)
"""Never looked at when it is read: click.Path would stat it, and wait for a mount that hangs."""


def _follow(text: str) -> str:
    if text in ("latest", "frozen") or re.fullmatch(r"release \S+", text):
        return text
    raise ConfigError(f"{text!r} is not latest, frozen, or 'release NAME'.")


def _mode(text: str) -> int:
    try:
        return int(text, 8)
    except ValueError:
        raise ConfigError(f"{text!r} is not an octal mode like 444.") from None


def _metrics(text: str) -> str:
    from hardtack.mount.metrics import parse_address

    if text:
        parse_address(text)
    return text


def option(
    flag: str, *names: str, env: tuple[str, ...] = (), of: str = "", **settings: Any
) -> Callable[[Command], Command]:
    """A click option with its variable `HARDTACK_…` first, then `env`.

    `of`: the command that it is of alone, which its variable names, such as ENDPOINT.
    """
    own = "HARDTACK_" + (f"{of}_" if of else "")
    own += flag.partition("/")[0].lstrip("-").replace("-", "_").upper()
    settings.setdefault("show_envvar", True)
    return click.option(flag, *names, envvar=[own, *env], **settings)


SOURCE = [
    option("--region", env=("S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"), help="AWS region."),
    option(
        "--endpoint-url",
        env=("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        help="The store, where it isn't the cloud's own, e.g. https://minio.example:9000.",
    ),
    option(
        "--path-style/--virtual-host",
        default=None,
        help="Bucket in the path or in the host name. Default: path with --endpoint-url.",
    ),
    option("--profile", env=("AWS_PROFILE",), help="Profile of the shared AWS files."),
    option("--unsigned", is_flag=True, help="Send requests without credentials."),
    option(
        "--credentials",
        type=click.Choice(["auto", "instance"]),
        default="auto",
        show_default=True,
        help="instance: the instance metadata service may be asked as well.",
    ),
    option("--ca-bundle", env=("AWS_CA_BUNDLE",), help="File of CA certificates to trust."),
    option("--proxy", help="Proxy for the source. Default: as HTTPS_PROXY and NO_PROXY say."),
    option("--insecure", is_flag=True, help="Don't verify TLS; each warning names it."),
    option("--prefix", default="", help="Only keys under this prefix."),
    option(
        "--progress-deadline",
        type=DURATION,
        default="20s",
        show_default=True,
        help="Give up a transfer that brings no byte for so long.",
    ),
]

CACHE = [
    option(
        "--cache",
        "cache_directory",
        env=("CACHE_PATH",),
        type=click.Path(file_okay=False, readable=False, path_type=Path),
        help="Cache directory. Default: one for each source below ~/.cache/hardtack, "
        "or /var/cache/hardtack for root.",
    ),
    option(
        "--cache-size", type=CACHE_SIZE, help="The most that the cache may hold. Default: no limit."
    ),
    option(
        "--keep-free",
        type=SIZE,
        default="1GiB",
        show_default=True,
        help="Disk space that the cache leaves free.",
    ),
    option(
        "--refresh-interval",
        type=DURATION,
        default="15m",
        show_default=True,
        help="Time between two listings; `hardtack refresh` asks for one now.",
    ),
    option(
        "--follow",
        type=Parsed("follow", _follow),
        default="latest",
        show_default=True,
        help="latest, frozen (what the box knows now), or 'release NAME'.",
    ),
    option(
        "--scrub-rate",
        type=RATE,
        default="1MiB",
        show_default=True,
        help="Bytes a second of cached content re-read and checked in the background; 0: none.",
    ),
    option("--verify-always", is_flag=True, help="Check each chunk again after every start."),
    option(
        "--connections",
        type=click.IntRange(1, 64),
        default=6,
        show_default=True,
        help="Requests at once.",
    ),
]

MOUNT = [
    option("--allow-other", is_flag=True, help="Other users may read (default for root)."),
    option("--uid", type=int, help="Owner of the files. Default: who mounts."),
    option("--gid", type=int, help="Group of the files. Default: who mounts."),
    option(
        "--file-mode", type=Parsed("mode", _mode), default="444", show_default=True, help="Octal."
    ),
    option(
        "--dir-mode", type=Parsed("mode", _mode), default="555", show_default=True, help="Octal."
    ),
    option(
        "--metrics",
        "metrics_address",
        type=Parsed("address", _metrics),
        help="Serve Prometheus metrics at HOST:PORT.",
    ),
    option(
        "--hold",
        default="",
        help="Socket of `hardtack hold`: this mount goes on where the last one ended, and is left "
        "to the next one.",
    ),
    option(
        "--handover",
        type=DURATION,
        default="0s",
        show_default=True,
        help="Time that a former mount at the same place has to end.",
    ),
]

SETTING_GROUPS = {"source": SOURCE, "cache": CACHE, "mount": MOUNT}


def using(*groups: list[Any]) -> Callable[[Command], Command]:
    """Give a command these groups of options, in their order."""

    def decorate(command: Command) -> Command:
        for group in reversed(groups):
            for decorator in reversed(group):
                command = decorator(command)
        return command

    return decorate


def parameters(group: list[Any]) -> list[click.Option]:
    """The click options that a group of decorators makes."""

    def bare() -> None: ...

    using(group)(bare)
    return list(reversed(bare.__click_params__))  # type: ignore[attr-defined]


def setting_names() -> dict[str, str]:
    """Every key that hardtack.toml may hold, with the option's name: its long name, or that."""
    found: dict[str, str] = {}
    for group in SETTING_GROUPS.values():
        for o in parameters(group):
            name = str(o.name)
            found |= {name: name, o.opts[0].lstrip("-").replace("-", "_"): name}
    return found


def source_options(values: dict[str, Any]) -> SourceOptions:
    """The SourceOptions that a command's parameters say."""
    from hardtack.source.options import SourceOptions

    return SourceOptions(
        region=values["region"],
        endpoint_url=values["endpoint_url"],
        path_style=values["path_style"],
        profile=values["profile"],
        unsigned=values["unsigned"],
        credentials=values["credentials"],
        ca_bundle=values["ca_bundle"],
        proxy=values["proxy"],
        insecure=values["insecure"],
        progress_deadline=values["progress_deadline"],
    )


def cache_options(values: dict[str, Any]) -> Options:
    """The cache Options that a command's parameters say."""
    from hardtack.cache.api import Options

    return Options(
        size_limit=values["cache_size"],
        keep_free=values["keep_free"],
        connections=values["connections"],
        refresh_interval=values["refresh_interval"],
        scrub_rate=values["scrub_rate"],
        verify_always=values["verify_always"],
        follow=values["follow"],
    )


_FORMS = "give s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///DIRECTORY"


def source_url(text: str | None, prefix: str) -> str:
    """The canonical URL of SOURCE, or of `S3_BUCKET`; a bare name is a bucket, if no directory.

    A path in a hardtack mount stands for the source of that mount, whole as it is.
    """
    from hardtack.source.open import check_kind, is_store

    may_be_path = bool(text)  # what S3_BUCKET names is a bucket, whatever lies here
    text = text or os.environ.get("S3_BUCKET")
    if not text:
        raise click.UsageError(f"SOURCE is missing: {_FORMS}, or set S3_BUCKET.")
    scheme, separator, rest = text.partition("://")
    if separator:
        path = rest if scheme == "file" else ""
    else:
        is_path = text.startswith((".", "/")) or (may_be_path and Path(text).is_dir())
        path = text if is_path else ""
    if path and (shown := _source_shown_at(path)):
        return shown
    if not separator:
        if not path and ":" in text:
            check_kind(text)
        text = f"file://{Path(text).resolve()}" if path else f"s3://{text}"
    scheme, _, rest = text.partition("://")
    check_kind(text)
    if scheme == "file" and not rest.strip("/ "):
        raise click.UsageError(f"SOURCE names no directory: {_FORMS}.")
    bucket = rest.partition("/")[0]
    if is_store(text) and (not bucket or any(c.isspace() for c in bucket)):
        raise click.UsageError(f"SOURCE names no bucket: {_FORMS}.")
    return "/".join([text.rstrip("/"), prefix.strip("/")]).rstrip("/")


def _source_shown_at(path: str) -> str | None:
    """The source of the hardtack mount that `path` lies in; the mount itself isn't touched."""
    from hardtack.mount.mountinfo import absolute, all_mounts

    place = Path(os.path.abspath(path))
    mounts = {Path(m.mountpoint): m for m in all_mounts()}
    for directory in (place, *place.parents):
        found = mounts.get(directory) or mounts.get(Path(absolute(str(directory))))
        if found is not None:
            return found.source.rstrip("/") if found.ours else None
    return None
