"""The command `hardtack`. Its commands are imported when called, so that each starts fast."""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import io
import logging
import os
import signal
import sys
from types import FrameType
from typing import Any

import click
from click.core import ParameterSource

from hardtack import __version__
from hardtack.cli import config
from hardtack.cli.lazy import LazyGroup
from hardtack.core.errors import ConfigError, DiskFull, FileError, HardtackError

COMMANDS = {
    "mount": ("hardtack.cli.mount", "mount", "Mount a source of weights, read-only."),
    "unmount": ("hardtack.cli.mount", "unmount", "Unmount, after what is under way."),
    "wait": ("hardtack.cli.wait", "wait", "Wait until files of a mount are on the box."),
    "status": ("hardtack.cli.status", "status", "What a mount or a cache holds and does."),
    "health": ("hardtack.cli.mount", "health", "Exit 0 when the mount answers in time."),
    "hold": ("hardtack.cli.hold", "hold", "Keep mounts while what serves them is replaced."),
    "ls": ("hardtack.cli.weights", "ls", "List a source, or what the box knows of it."),
    "refresh": ("hardtack.cli.refresh", "refresh", "List a source now."),
    "prefetch": ("hardtack.cli.weights", "prefetch", "Fetch what will be needed."),
    "pin": ("hardtack.cli.weights", "pin", "Keep the present generation as a release."),
    "unpin": ("hardtack.cli.weights", "unpin", "Forget a release."),
    "releases": ("hardtack.cli.weights", "releases", "List the releases kept."),
    "verify": ("hardtack.cli.weights", "verify", "Read every cached byte and check it."),
    "cache": ("hardtack.cli.cache", "cache", "List, measure and evict cached objects."),
    "images": (
        "hardtack.cli.images",
        "images",
        "Container images: scan, lock, pull, install, audit.",
    ),
    "policy": (
        "hardtack.cli.policy",
        "policy",
        "Does anything in a deployment reach for the network?",
    ),
    "model": ("hardtack.cli.model", "model", "Model packages: check, show, run, write."),
    "inference": ("hardtack.cli.inference", "inference", "Answer pictures on this box."),
    "endpoint": ("hardtack.cli.endpoint", "endpoint", "Answer the Groundlight SDK on this box."),
    "ready": ("hardtack.cli.ready", "ready", "Would this box come up with the cable pulled?"),
    "deploy": ("hardtack.cli.deploy", "deploy", "What a deployment is made of, and needs."),
    "job": ("hardtack.cli.job", "job", "The small jobs of a deployment."),
    "doctor": ("hardtack.cli.doctor", "doctor", "What is wrong with this machine?"),
    "box": ("hardtack.cli.box", "box", "Make this box come up alone."),
    "demo": ("hardtack.cli.demo", "demo", "The whole story on one machine."),
    "config": ("hardtack.cli.settings", "config", "Where each setting comes from."),
    "completion": ("hardtack.cli.settings", "completion", "Shell completion."),
    "version": ("hardtack.cli.version", "version", "The version."),
}
"""Name → module, object in it, and the line of help that `hardtack --help` shows."""


LINES = "\n\t"
"""What a message of several lines may hold; it quotes names with their escapes."""

SECTIONS = {
    "Weights": (
        "mount", "unmount", "status", "health", "wait", "hold", "ls", "refresh", "prefetch", "pin",
        "unpin", "releases", "verify", "cache",
    ),
    "Images": ("images", "policy"),
    "Inference": ("model", "inference", "endpoint"),
    "The box": ("ready", "doctor", "box"),
    "The deployment": ("deploy", "job"),
    "hardtack itself": ("demo", "config", "completion", "version"),
}  # fmt: skip


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="hardtack")
@click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False),
    envvar="HARDTACK_CONFIG",
    help="Default: hardtack.toml here, in ~/.config/hardtack or in /etc/hardtack.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    envvar="HARDTACK_LOG_LEVEL",
    show_default=True,
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    envvar="HARDTACK_LOG_FORMAT",
    show_default=True,
)
@click.pass_context
def hardtack(ctx: click.Context, config_file: str | None, log_level: str, log_format: str) -> None:
    """Keep everything an edge box needs to run its models on the box, and prove it."""
    from hardtack.core import logs

    logs.configure(log_level, log_format)
    settings = config.load(config_file)
    ctx.obj = settings
    nested = dict.fromkeys(("show", "list", "size", "evict"), settings.values)
    ctx.default_map = dict.fromkeys(COMMANDS, settings.values | nested)


def main(arguments: list[str] | None = None) -> None:
    """Run a command; ends the process with its exit code."""
    _prepare_process()
    try:
        # Without standalone mode click returns what `ctx.exit` was called with.
        code = hardtack.main(args=arguments, prog_name="hardtack", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        told_by_file = _of_file(error)
        if told_by_file is not None:
            fail(told_by_file)
        error.show()
        sys.exit(error.exit_code)
    except HardtackError as error:
        fail(error)
    except ModuleNotFoundError as error:
        from hardtack.cli.extras import without

        told = without(error)
        if told is None:
            raise
        fail(told)
    except (KeyboardInterrupt, click.Abort):
        print("hardtack: interrupted", file=sys.stderr)
        sys.exit(130)
    except SystemExit:
        if type(sys.stdout).__name__.endswith("PacifyFlushWrapper"):  # click's: nobody reads on
            sys.exit(141)
        raise
    except BrokenPipeError:
        _drop_what_is_left()
        sys.exit(141)
    except OSError as error:
        _drop_what_is_left()
        logging.getLogger("hardtack").debug("where it failed", exc_info=True)
        fail(_of_system(error))


def _prepare_process() -> None:
    atexit.register(gc.freeze)  # at the end nothing is looked through for garbage once more
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores one, and means it
            signal.signal(number, _end)
    # Who starts us with one of them closed gets no answer there, and no traceback.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):  # names that the terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")


_REMEDIES = {
    errno.EACCES: "Run it as root, or as the user whose it is.",
    errno.EROFS: "Name another place, or have the file system take writes: mount -o remount,rw.",
}


def _of_system(error: OSError) -> HardtackError:
    """What to say where the system refuses something that nobody foresaw."""
    where = " and ".join(str(f) for f in (error.filename, error.filename2) if f is not None)
    said = f"{where}: {error.strerror}." if where else f"{error.strerror or error}."
    if error.errno == errno.ENOSPC:
        return DiskFull(said, remedy="Free some space there, or name another place.")
    return FileError(said, remedy=_REMEDIES.get(error.errno or 0, ""))


def _drop_what_is_left() -> None:
    """Output that could not be written isn't tried again at the end: Python would complain of it
    a second time, and from 3.13 on exit with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _of_file(error: click.ClickException) -> HardtackError | None:
    """What to say of a value that hardtack.toml holds, and not who typed the command."""
    if not isinstance(error, click.BadParameter) or error.param is None or error.ctx is None:
        return None
    name = str(error.param.name)
    if error.ctx.get_parameter_source(name) is not ParameterSource.DEFAULT_MAP:
        return None
    settings: config.Settings = error.ctx.find_root().obj
    return ConfigError(f"{settings.place(name)}: {name}: {error.message}")


def _end(number: int, _: FrameType | None) -> None:
    """End as Ctrl-C does: what is begun is closed, what was mounted for a demo is unmounted."""
    told = f"hardtack: ended by {signal.Signals(number).name}\n"
    with contextlib.suppress(OSError):
        os.write(2, told.encode())  # not print: the signal may have come in the middle of one
    sys.exit(128 + number)


def fail(error: HardtackError) -> Any:
    """Say what is wrong and what to do, and end with the exit code of the error's class."""
    from hardtack.core.logs import printable

    print(f"hardtack: {printable(error.message, keep=LINES)}", file=sys.stderr)
    if error.remedy:
        print(f"  {printable(error.remedy, keep=LINES)}", file=sys.stderr)
    sys.exit(error.exit_code)
