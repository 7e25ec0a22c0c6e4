"""Does anything expire that nobody renews with no network?"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from hardtack.core.errors import ConfigError
from hardtack.core.units import format_count, format_duration
from hardtack.deploy.facts import endpoint_start
from hardtack.deploy.facts.k3s import DATA
from hardtack.deploy.facts.links import resolved, told
from hardtack.deploy.ready.checks import Check
from hardtack.deploy.ready.report import Row, State

_PAIR = ("--tls-cert", "--tls-key")
_K3S = ("server/tls", "server/tls/etcd", "agent")
"""Where k3s has its certificates."""


@dataclass(frozen=True)
class Certificate:
    """A certificate in `file`: from when to when it is valid, in seconds since 1970 UTC."""

    file: Path
    begins: float
    ends: float
    authority: bool


@dataclass(frozen=True)
class Tls:
    """The endpoint's certificate and key; `given`: by the person, else made by itself at need."""

    certificate: Path
    key: Path
    given: bool


def of_unit(root: Path) -> Tls | None:
    """The certificate that the endpoint's unit names, with its key; None where it names none, or
    where that can't be told. Raises ConfigError, OSError."""
    named = endpoint_start.told(root, *_PAIR)
    if not named or not all(map(told, named.values())):
        return None
    if len(named) < len(_PAIR):
        raise ConfigError(
            f"{endpoint_start.UNIT} names {next(iter(named))} alone: the endpoint ends.",
            remedy=f"Name {' and '.join(_PAIR)} in its environment, or neither.",
        )
    certificate, key = (resolved(root, named[each]) or _below_root(root, named[each])
                        for each in _PAIR)  # fmt: skip
    return Tls(certificate, key, True)


def _below_root(root: Path, path: str) -> Path:
    return root / path.lstrip("/")


def judged(certificates: Iterable[Certificate], now: float, horizon: float) -> list[Row]:
    """A row for each certificate that is of no use at some time until `horizon` from now. Pure."""
    return [row for one in certificates if (row := _row(one, now, horizon)) is not None]


def _row(one: Certificate, now: float, horizon: float) -> Row | None:
    if one.begins > now:
        detail = f"is valid from {_date(one.begins)} on; the clock says {_date(now)}"
        remedy = "Set the clock, and keep it: hardtack box prepare."
        return Row(Check.CERTIFICATES_BEGUN, str(one.file), State.WRONG, detail, remedy=remedy)
    if one.ends < now + horizon:
        left = one.ends - now
        how = f"in {format_duration(left)}" if left > 0 else f"{format_duration(-left)} ago"
        detail = f"expires {how}, on {_date(one.ends)}, and nothing renews it with no network"
        remedy = "Renew it now, while there is a network."
        return Row(Check.CERTIFICATES_LAST, str(one.file), State.EXPIRES, detail, remedy=remedy)
    return None


def rows(root: Path, tls: Tls, now: float, horizon: float) -> list[Row]:
    """Rows of the endpoint's certificate, that of its unit where none is given, and of k3s's
    authorities below `root`. Raises ConfigError.

    k3s's other certificates are left out: it renews them itself when it starts, from these.
    """
    try:
        tls = tls if tls.given else of_unit(root) or tls
        endpoint = tls.given or _is_there(tls.certificate)
        files = [path for name in _K3S for path in _below(root / DATA / name)]
    except OSError as error:
        name, detail = str(error.filename), f"can't be looked into: {error.strerror}"
        remedy = "Run it as root."
        return [Row(Check.CERTIFICATES_READ, name, State.WRONG, detail, remedy=remedy)]
    found: list[Certificate] = []
    amiss: list[Row] = []
    for path in [*([tls.certificate] if endpoint else []), *files]:
        try:
            one = _read(path)
        except (OSError, ValueError) as error:
            detail = f"can't be read as a certificate: {error}"
            remedy = "Put it back, or have it made anew."
            amiss.append(
                Row(Check.CERTIFICATES_READ, str(path), State.WRONG, detail, remedy=remedy)
            )
            continue
        if one.authority or path == tls.certificate:
            found.append(one)
    # A pair of its own that isn't whole the endpoint makes anew; one that doesn't fit ends it.
    if not amiss and (tls.given or (endpoint and tls.key.is_file())):
        amiss += _pair(tls)
    amiss += judged(found, now, horizon)
    if amiss:
        return amiss
    count = format_count(len(found), "certificate")
    detail = f"{count} will still be valid in {format_duration(horizon)}" if found else ""
    if not endpoint:
        detail += ("; " if found else "") + "the endpoint makes its own when it starts"
    return [Row(Check.CERTIFICATES_LAST, "certificates", State.READY, detail)]


def _is_there(path: Path) -> bool:
    """Raises OSError where it can't be told, which `is_file` takes for no."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _below(directory: Path) -> list[Path]:
    """The certificates in a directory of k3s's; none where there is no such directory. Raises
    OSError where it can't be looked into, which a glob would pass over."""
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [directory / name for name in names if name.endswith(".crt")]


def _pair(tls: Tls) -> list[Row]:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        detail = f"can't be served with the key {tls.key}: {error}"
        remedy = "Put the key of this certificate there."
        return [
            Row(Check.CERTIFICATES_KEY, str(tls.certificate), State.WRONG, detail, remedy=remedy)
        ]
    return []


def _read(path: Path) -> Certificate:
    """The first certificate in the file. Raises OSError, ValueError."""
    from cryptography import x509

    one = x509.load_pem_x509_certificates(path.read_bytes())[0]
    try:
        authority = one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        authority = False
    begins, ends = one.not_valid_before_utc, one.not_valid_after_utc
    return Certificate(path, begins.timestamp(), ends.timestamp(), authority)


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
