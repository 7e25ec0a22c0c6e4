"""Names of hosts, as they are asked for."""

from __future__ import annotations

import ipaddress

_LONGEST = 253  # characters of a name in the DNS
_AMBIGUOUS = frozenset("ßς\u200c\u200d")  # IDNA of 2003 and of 2008 make other names of these


def ascii_name(host: str) -> str:
    """`host`, an address or a name, in ASCII: of an international name what IDNA makes of it.

    Raises ValueError, which says what is wrong with it.
    """
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError as error:
            raise ValueError("that is no IPv6 address") from error
        return host
    if len(host) > _LONGEST:
        raise ValueError(f"a host's name has at most {_LONGEST} characters")
    if _AMBIGUOUS.intersection(host):
        raise ValueError("write it in its ASCII form, which begins with xn--")
    try:
        name = host if _plain(host) else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ValueError("a part of the host's name is empty, too long, or no name") from error
    if not name or any(c <= " " or c in '"#%/<>?@[\\]^`{|}\x7f' for c in name):
        raise ValueError("a host's name holds no such characters")
    return name


def _plain(host: str) -> bool:
    """Whether IDNA leaves `host` as it is, without its tables, which take milliseconds to load."""
    labels = host.removesuffix(".").split(".")
    return host.isascii() and all(0 < len(label) < 64 for label in labels)
