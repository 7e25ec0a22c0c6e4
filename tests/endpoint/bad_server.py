"""A program of somebody else's that keeps some of each picture for ever, and ends over some."""

from __future__ import annotations

import http.server
import json
import os

KEPT: list[bytes] = []
MORE = 20_000_000


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._reply({"live": True})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if body == b"end":
            os._exit(7)
        if body == b"leak":
            KEPT.append(os.urandom(MORE))
        answer = {"confidences": [0.9], "labels": [0], "probabilities": [0.9], "scores": [1.0]}
        self._reply({"predictions": answer, "multi_predictions": None})

    def _reply(self, told: object) -> None:
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
