"""The endpoint's certificate: its owner's, or one made once and kept."""

from __future__ import annotations

import ipaddress
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hardtack.core.errors import ConfigError
from hardtack.core.files import write_atomically

_YEARS = 20
"""A box without a network has nobody to renew its certificate."""


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Certificate and key in `directory`, made where there are none. Raises ConfigError."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    if certificate.is_file() and key.is_file():
        return certificate, key
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        made, secret = _make()
        write_atomically(key, secret, mode=0o600)
        write_atomically(certificate, made)  # last: with it the pair is whole
    except OSError as error:
        raise ConfigError(f"No certificate can be kept in {directory}: {error.strerror}.") from None
    return certificate, key


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
