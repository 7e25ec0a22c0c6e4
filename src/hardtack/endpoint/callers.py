"""Who may call: everybody, or those with the endpoint's API token."""

from __future__ import annotations

import base64
import binascii
import hmac
from pathlib import Path

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from hardtack.core.errors import ConfigError
from hardtack.endpoint.upstream import TOKEN

_OPEN = ("/ping", "/health/live", "/health/ready")
"""What probes ask, without a token."""
STRANGER = "hardtack.stranger"
"""In the scope of a request that bears no token, though the endpoint has one."""
_BEARERS = (TOKEN.encode(), b"authorization")


class Callers:
    """Lets requests through that bear the token, and takes it off them: it isn't the cloud's."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        known = hmac.compare_digest(_given(scope), self._token)
        if not known and scope["path"] in _OPEN:
            await self._app({**scope, STRANGER: True}, receive, send)
            return
        if not known:
            reason = f"This endpoint needs its API token, in {TOKEN} or as a password."
            headers = {"WWW-Authenticate": 'Basic realm="hardtack"'}
            await JSONResponse({"detail": reason}, 401, headers)(scope, receive, send)
            return
        rest = [(key, value) for key, value in scope["headers"] if key not in _BEARERS]
        await self._app({**scope, "headers": rest}, receive, send)


def _given(scope: Scope) -> bytes:
    """The SDK's header, or the password that a browser asks a person for."""
    headers = dict(scope["headers"])
    kind, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    if TOKEN.encode() in headers or kind.lower() != b"basic":
        return bytes(headers.get(TOKEN.encode(), b""))
    try:
        return base64.b64decode(credentials, validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def read_token(path: Path) -> str:
    """The token in a file. Raises ConfigError."""
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise ConfigError(
            f"--token-file {path} can't be read: {reason}.",
            remedy="Name a file that holds the token, of letters, digits and underscores.",
        ) from None
    if len(token) < 20 or not token.isprintable():
        raise ConfigError(
            f"{path} holds no token that could keep anybody out.",
            remedy="The SDK takes one of 20 letters, digits and underscores, or more.",
        )
    return token
