"""`python -m bench.judge MODEL PICTURE THREADS SECONDS`: decode and judge one picture again and
again in this process; JSON of what each time took. The limit that the endpoint is held against."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

from hardtack.inference.model import open_model
from hardtack.inference.runtime import Options


def main() -> None:
    directory, picture, threads, seconds = sys.argv[1:]
    model = open_model(Path(directory), Options(threads=1))
    data = Path(picture).read_bytes()
    took: list[float] = []
    model.infer(data)

    def work() -> None:
        while time.perf_counter() < end:
            begun = time.perf_counter()
            model.infer(data)
            took.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    end = begun + float(seconds)
    workers = [threading.Thread(target=work) for _ in range(int(threads))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(json.dumps({"seconds": took, "took": time.perf_counter() - begun}))


if __name__ == "__main__":
    main()
