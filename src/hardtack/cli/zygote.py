"""`python -m hardtack.cli.zygote SOCKET …`: the process from which a box's own inference servers
are forked, so that nine of them import what they need once."""

from __future__ import annotations

import os
import socket
import sys

from hardtack.cli.lazy import uncollected
from hardtack.endpoint.backends.child import bind
from hardtack.endpoint.backends.forking import Zygote, rename


def main() -> None:
    """Fork servers until the endpoint ends; in each of them, be `hardtack WORDS`."""
    _, orders, parent, *_ = sys.argv
    bind(int(parent))
    zygote = Zygote(socket.socket(fileno=int(orders)))
    with uncollected():
        _import_all()
    words = zygote.serve()
    if words is None:
        return
    from hardtack.cli.main import main as command

    rename([sys.executable, "-m", "hardtack", *words])
    sys.argv = ["hardtack", *words]
    command(words)


def _import_all() -> None:
    """All that a server imports until it has answered a picture. Starts no thread, as none would
    outlive the fork: ONNX Runtime's come with a session, and OpenBLAS, which nothing here uses, is
    kept from making its own."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import anyio._backends._asyncio
    import PIL.Image
    import uvicorn.lifespan.on
    import uvicorn.loops.uvloop
    import uvicorn.protocols.http.httptools_impl
    import uvloop

    import hardtack.cli.inference
    import hardtack.cli.main
    import hardtack.core.logs
    import hardtack.inference.server
    from hardtack.inference.runtime import quiet_onnxruntime

    quiet_onnxruntime()
    PIL.Image.init()
    del anyio, uvicorn, uvloop, hardtack


if __name__ == "__main__":
    main()
