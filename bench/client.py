"""The client library alone: `python -m bench.client SOURCE ENDPOINT KEY OUT` prints seconds.

Four ranges at a time of one object, straight into a file: the limit for a first read.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hardtack.source.api import ObjectInfo, Source
from hardtack.source.open import open_source
from hardtack.source.options import SourceOptions

RANGE = 8 << 20
CONNECTIONS = 4


def seconds(endpoint: str, bucket: str, key: str, out: Path) -> float:
    """Seconds of such a download in a process of its own."""
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", "bench.client", f"s3://{bucket}", endpoint, key, str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    out.unlink()
    return float(done.stdout)


def download(source: Source, info: ObjectInfo, out: int) -> None:
    """`info` into the file descriptor `out`."""

    def one(start: int) -> None:
        stop = min(info.size, start + RANGE)
        buffer = memoryview(bytearray(1 << 20))
        with source.stream(info, start, stop) as stream:
            while count := stream.readinto(buffer[: min(len(buffer), stop - start)]):
                os.pwrite(out, buffer[:count], start)
                start += count
                if start == stop:
                    break

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(one, range(0, info.size, RANGE)))


def main() -> None:
    url, endpoint, key, out = sys.argv[1:]
    source = open_source(url, SourceOptions(endpoint_url=endpoint, unsigned=True))
    info = next(o for page in source.pages() for o in page if o.key == key)
    fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    begin = time.monotonic()
    download(source, info, fd)
    print(time.monotonic() - begin)
    source.close()


if __name__ == "__main__":
    main()
