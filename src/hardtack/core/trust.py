"""How a server's certificate is checked: alike under every Python."""

from __future__ import annotations

import ssl


def trusting(*, file: str | None = None, pem: str | None = None) -> ssl.SSLContext:
    """TLS that trusts the authorities in `file` or `pem`, or the system's where there is neither.

    Python's own defaults changed with 3.13. These are what containerd, k3s and curl do: each
    certificate that is trusted ends a chain, be it of an authority below another (Python: from 3.13
    on); and an authority that lacks what RFC 5280 asks for, as those of proxies and of old clusters
    often do, is one (Python: up to 3.12). Raises OSError, of which ssl.SSLError is one.
    """
    context = ssl.create_default_context(cafile=file, cadata=pem)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
