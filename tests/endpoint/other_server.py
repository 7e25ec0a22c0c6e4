"""A program of somebody else's that speaks edge-endpoint's /infer, with the standard library."""

from __future__ import annotations

import http.server
import json
import os
from pathlib import Path

VERSION = Path(os.environ["MODEL_DIR"]).name
ANSWER = json.loads((Path(os.environ["MODEL_DIR"]) / "weights").read_text())


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._reply({"live": True, "name": os.environ["MODEL_NAME"]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._reply({"predictions": ANSWER, "multi_predictions": None})

    def _reply(self, told: object) -> None:
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


assert os.environ["HF_HUB_OFFLINE"] == "1"
print("a word on standard output", VERSION, flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
