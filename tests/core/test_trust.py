"""Whose certificates are taken: what an older or a newer Python alone would refuse."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hardtack.core.trust import trusting

HOST = "store.example"
Key = ec.EllipticCurvePrivateKey


class Issued:
    """A certificate as old authorities make them: no key usage, no key identifiers."""

    def __init__(self, name: str, by: Issued | None, *, authority: bool) -> None:
        self.key: Key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(by.name if by else self.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(authority, None), critical=False)
        )
        if not authority:
            names = x509.SubjectAlternativeName([x509.DNSName(name)])
            made = made.add_extension(names, critical=False)
        signed = made.sign((by or self).key, hashes.SHA256())
        self.pem = signed.public_bytes(serialization.Encoding.PEM).decode()

    def served(self, directory: Path) -> ssl.SSLContext:
        private = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        file = directory / "served.pem"
        file.write_bytes(private + self.pem.encode())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Raises ssl.SSLCertVerificationError where the client refuses the server's certificate."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=HOST),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(3):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert sides[0].getpeercert()


@pytest.fixture(params=["as of Python 3.12", "as of Python 3.13"])
def defaults(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ssl.create_default_context
    new = ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN

    def changed(**given: str | None) -> ssl.SSLContext:
        context = real(**given)  # type: ignore[arg-type]
        context.verify_flags &= ~new
        if request.param.endswith("3.13"):
            context.verify_flags |= new
        return context

    monkeypatch.setattr(ssl, "create_default_context", changed)


@pytest.mark.usefixtures("defaults")
def test_an_authority_that_lacks_what_rfc_5280_asks_for_is_trusted(tmp_path: Path) -> None:
    authority = Issued("old authority", None, authority=True)
    server = Issued(HOST, authority, authority=False)
    shake_hands(trusting(pem=authority.pem), server.served(tmp_path))
    (tmp_path / "bundle.pem").write_text(authority.pem)
    shake_hands(trusting(file=str(tmp_path / "bundle.pem")), server.served(tmp_path))


@pytest.mark.usefixtures("defaults")
def test_an_authority_below_another_is_trusted_on_its_own(tmp_path: Path) -> None:
    root = Issued("root", None, authority=True)
    below = Issued("authority below", root, authority=True)
    server = Issued(HOST, below, authority=False)
    shake_hands(trusting(pem=below.pem), server.served(tmp_path))


@pytest.mark.usefixtures("defaults")
def test_no_other_authority_and_no_other_name_is_taken(tmp_path: Path) -> None:
    authority, other = (Issued(name, None, authority=True) for name in ("ours", "theirs"))
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        shake_hands(
            trusting(pem=authority.pem), Issued(HOST, other, authority=False).served(tmp_path)
        )
    elsewhere = Issued("elsewhere.example", authority, authority=False)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(trusting(pem=authority.pem), elsewhere.served(tmp_path))
