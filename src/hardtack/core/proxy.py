"""Proxies: how people write them, and how their faults are told."""

from __future__ import annotations

import socket
from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from hardtack.core.errors import ConfigError, in_words
from hardtack.core.hosts import ascii_name

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_FORM = "Write http://, https://, socks5:// or socks5h:// and host:port."
_ESCAPES = "In its user and password write %2F for /, %23 for #, %3F for ? and %40 for @."

RUNS = (
    "Does it run, and is its address right? HTTPS_PROXY names it, or --proxy; NO_PROXY, or "
    '--proxy "", goes past it.'
)
LOGIN = f"Write its user and password before its host, user:password@host. {_ESCAPES}"
_AUTHORITY = (
    "Add the authority of the proxy's certificate to the file of authorities that SSL_CERT_FILE "
    "names; those given for what lies behind it don't count here. Or set the clock."
)
NO_TLS = "Does it speak TLS at that port? One that doesn't is written with http://."


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; `user` is empty where it wants none. `str` shows it without user and password."""

    scheme: str
    host: str
    port: int
    user: str = field(repr=False, default="")
    password: str = field(repr=False, default="")

    @classmethod
    def parse(cls, text: str) -> Proxy:
        """`scheme://[user:password@]host[:port]`; `host:port` is http. Raises ConfigError."""
        url = text if "://" in text else f"http://{text}"
        try:
            parts = urlsplit(url)
            host, port = ascii_name(parts.hostname or ""), parts.port
        except ValueError:  # a port that is no number, brackets around no address
            host, port = "", 0
        # What follows one of these signs in a password would be taken for a host, and shown.
        torn = url.count("@") > 1 or "?" in url or "#" in url or url.count("/", 0, -1) > 2
        if torn or not host or port == 0 or parts.scheme not in _PORTS:
            shown = text.rpartition("@")[2]
            raise ConfigError(
                f"{shown!r} is not a usable proxy URL.",
                remedy=f"{_FORM} {_ESCAPES}" if "@" in text else _FORM,
            )
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(parts.scheme, host, port or _PORTS[parts.scheme], user, password)

    def __str__(self) -> str:
        return f"{self.scheme}://{joined(self.host, self.port)}"

    @property
    def forwards(self) -> bool:
        """Whether requests for http:// go to it whole, as to a server."""
        return self.scheme in ("http", "https")

    @property
    def headers(self) -> dict[str, str]:
        """How to log in to it by HTTP."""
        if not self.user:
            return {}
        login = b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Proxy-Authorization": f"Basic {login}"}


class ProxyError(OSError):
    """A proxy, not what lies behind it, is at fault: its text names the proxy and says what is
    wrong; `remedy`: what to do about it, in sentences.

    `lasting`: another attempt fares no better; `silent`: it said nothing in the time it had.
    """

    def __init__(
        self, proxy: Proxy, what: str, remedy: str = RUNS, *,
        lasting: bool = False, silent: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(f"the proxy {proxy} {what}")
        self.remedy, self.lasting, self.silent = remedy, lasting, silent


def blamed(proxy: Proxy, error: OSError, remedy: str = RUNS) -> ProxyError:
    """`error`, met on the way to `proxy` or while speaking with it, as one of the proxy; `remedy`
    where the error asks for none of its own."""
    import ssl  # late: most have no proxy, or none that fails

    if isinstance(error, ProxyError):
        return error
    if isinstance(error, ssl.SSLCertVerificationError):
        what = f"can't be used: its certificate is not trusted ({error.verify_message})"
        return ProxyError(proxy, what, _AUTHORITY, lasting=True)
    if isinstance(error, ssl.SSLError):
        why = (error.reason or "it ended the connection").replace("_", " ").lower()
        return ProxyError(proxy, f"can't be used: TLS with it failed ({why})", remedy)
    if isinstance(error, socket.gaierror):
        return ProxyError(proxy, f"can't be used: its name is not known ({error.strerror})")
    silent = isinstance(error, TimeoutError)
    return ProxyError(proxy, f"can't be used: {in_words(error)}", remedy, silent=silent)


def joined(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
