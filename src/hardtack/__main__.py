"""The command `hardtack`, also as `python -m hardtack`."""

from __future__ import annotations

import gc
import signal


def main() -> None:
    """Run the command; ends the process with its exit code."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C amid the imports: no traceback
    gc.disable()  # what imports make stays; to look through it again and again is 6 % of the start
    from hardtack.cli.main import main as command

    gc.enable()
    signal.signal(signal.SIGINT, handler)
    command()


if __name__ == "__main__":
    main()
