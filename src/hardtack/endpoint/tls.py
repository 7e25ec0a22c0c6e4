"""The endpoint's certificate: its owner's, or one made once and kept."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hardtack.core.errors import ConfigError
from hardtack.core.files import write_atomically

_log = logging.getLogger(__name__)

_YEARS = 20
"""A box without a network has nobody to renew its certificate."""


class Pair:
    """A certificate and its key, in files that may be replaced by others while they serve."""

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises ConfigError where they can't be used."""
        self.certificate, self.key = certificate, key
        if wrong := self._wrong():
            raise ConfigError(
                wrong,
                remedy="Name a certificate, its chain behind it, and its key, both in PEM. Of the "
                "endpoint's own delete both, and others are made.",
            )
        self._seen = self._stamp()
        self._told = ""

    def renew(self, context: ssl.SSLContext) -> None:
        """Have `context` show what the files hold now, where they were replaced. Until both are
        of one pair again, it shows what it had."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        if wrong := self._wrong():
            if wrong != self._told:
                _log.error("%s Callers are shown the one before, as long as this runs.", wrong)
            self._told = wrong
            return
        try:
            context.load_cert_chain(self.certificate, self.key, password="")
        except (OSError, ValueError):  # replaced again a moment ago: the next look finds it whole
            return
        self._seen, self._told = stamp, ""
        _log.info("The certificate %s is a new one, and shown to callers.", self.certificate)

    def _wrong(self) -> str:
        """Why they can't be used, in a sentence, or nothing."""
        for path in (self.certificate, self.key):
            try:
                path.open("rb").close()
            except OSError as error:
                return f"The certificate can't be used: {path}: {error.strerror}."
        try:
            # No password: without one OpenSSL would ask a person at the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                self.certificate, self.key, password=""
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or "they are not in PEM, or the key is locked"
            why = reason.replace("_", " ").lower()
            return f"The certificate {self.certificate} with the key {self.key}: {why}."
        return ""

    def _stamp(self) -> list[tuple[int, int, int]]:
        try:
            found = [os.stat(path) for path in (self.certificate, self.key)]
        except OSError:
            return []
        return [(entry.st_ino, entry.st_mtime_ns, entry.st_size) for entry in found]


def self_signed(directory: Path) -> Pair:
    """Certificate and key in `directory`, made where there are none. Raises ConfigError."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    if certificate.is_file() and key.is_file():
        return Pair(certificate, key)
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        made, secret = _make()
        write_atomically(key, secret, mode=0o600)
        write_atomically(certificate, made)  # last: with it the pair is whole
    except OSError as error:
        raise ConfigError(f"No certificate can be kept in {directory}: {error.strerror}.") from None
    return Pair(certificate, key)


def _make() -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    host = socket.gethostname()[:64] or "hardtack"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    # The box's clock may be far behind the callers': the certificate is valid from long ago.
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    names = [
        x509.DNSName(host),
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(os.urandom(16), "big") >> 1)
        .not_valid_before(begin)
        .not_valid_after(max(begin, datetime.now(UTC)) + timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return certificate.public_bytes(pem), key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
