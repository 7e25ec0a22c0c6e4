"""Write or check the pages that are made from code."""

from __future__ import annotations

import asyncio
import errno
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, Never

import click

from hardtack.core.errors import tree

ROOT = Path(__file__).resolve().parent.parent
MADE = "<!-- Made from code by `./run docs`; change it there. -->\n"


def exit_codes() -> str:
    """docs/exit-codes.md from the error tree."""
    fixed = [
        (0, "", "", "done"),
        (1, "", "", "a check found problems, or a scan or lock may lack images"),
        (2, "", "", "wrong usage: unknown option, missing argument"),
        (130, "", "", "interrupted with Ctrl-C"),
        (129, "", "", "ended by SIGHUP: its terminal went away"),
        (143, "", "", "ended by SIGTERM, as Ctrl-C does"),
        (141, "", "", "the reader of the output went away"),
    ]
    from_tree = [
        (cls.exit_code, cls.__name__, errno.errorcode[cls.errno], cls.summary) for cls in tree()
    ]
    rows = "\n".join(
        f"| {code} | {name} | {number} | {text} |"
        for code, name, number, text in sorted(fixed + from_tree)
    )
    return (
        f"# Exit codes\n\n{MADE}\n"
        "For scripts, and for whoever reads one's log: what a command ends with, and the errno "
        "that a reader of the mount sees for the same."
        f"\n\n| code | error | errno | when |\n| --- | --- | --- | --- |\n{rows}\n"
    )


def commands() -> str:
    """docs/commands.md from the command line's own help."""
    from hardtack.cli.main import hardtack

    whom = "For whoever types or scripts `hardtack`: the help of each command."
    parts = [f"# Commands\n\n{MADE}\n{whom}\n"]
    root = click.Context(hardtack, info_name="hardtack", terminal_width=100, max_content_width=100)
    _describe(hardtack, root, parts)
    return "\n".join(parts) + "\n"


def _describe(command: click.Command, ctx: click.Context, parts: list[str]) -> None:
    help_text = "\n".join(line.rstrip() for line in command.get_help(ctx).splitlines())
    parts.append(f"## {ctx.command_path}\n\n```text\n{help_text}\n```\n")
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            child = command.get_command(ctx, name)
            if child is not None:
                _describe(child, click.Context(child, info_name=name, parent=ctx,
                          terminal_width=100, max_content_width=100), parts)  # fmt: skip


def metrics() -> str:
    """docs/metrics.md from the metrics that mount, endpoint and inference servers serve."""
    from prometheus_client.exposition import generate_latest

    from hardtack.deploy.ready.verdict import METRICS as VERDICT
    from hardtack.inference.server import Service
    from hardtack.mount import metrics as mount_metrics

    def never() -> Never:
        sys.exit("no model is loaded to write a page")

    of_mount = [
        (f"{name}{'_total' if kind == 'counter' else ''}", kind, meaning)
        for name, kind, _, meaning in mount_metrics.METRICS
    ]
    of_mount.append(("hardtack_source_reachable", "gauge", mount_metrics.REACHABLE))
    inference = exposed(generate_latest(Service("any", never).registry).decode())
    return (
        f"# Metrics\n\n{MADE}\n"
        "For whoever watches boxes with Prometheus. `deploy/monitoring/` has alerts and a "
        "dashboard that use them; docs/operate.md says how.\n\n"
        "## The mount\n\n`hardtack mount --metrics HOST:PORT`, at `/metrics`.\n\n"
        f"{metric_table(of_mount)}\n"
        "## Readiness\n\n`hardtack ready --watch --textfile FILE`, for the node exporter.\n\n"
        f"{metric_table((name, 'gauge', meaning) for name, meaning in VERDICT)}\n"
        "## The endpoint\n\n`/metrics` on its own port.\n\n"
        f"{metric_table(exposed(endpoint_metrics()))}\n"
        "## Inference servers\n\n`/metrics` of each.\n\n"
        f"{metric_table(inference)}"
    )


def metric_table(rows: list[tuple[str, str, str]]) -> str:
    """Name, kind, meaning."""
    lines = "\n".join(
        f"| `{name}` | {kind} | {meaning[:1].lower()}{meaning[1:].rstrip('.')} |"
        for name, kind, meaning in rows
    )
    return f"| metric | kind | meaning |\n| --- | --- | --- |\n{lines}\n"


def exposed(text: str) -> list[tuple[str, str, str]]:
    """Name, kind and meaning of the metrics in Prometheus's text format."""
    help_lines = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    kinds = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    return [(n, kind, help_lines[n]) for n, kind in kinds if not n.endswith("_created")]


def endpoint_metrics() -> str:
    """What `/metrics` of an endpoint says that has a cloud and answered nothing yet."""
    from hardtack.endpoint.opening import Settings, application

    said = b""

    async def get() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request"}

        async def send(message: Any) -> None:
            nonlocal said
            said += message.get("body", b"")

        scope = {
            "type": "http", "method": "GET", "path": "/metrics", "raw_path": b"/metrics",
            "query_string": b"", "headers": [], "root_path": "", "scheme": "http",
            "server": ("127.0.0.1", 80), "http_version": "1.1",
        }  # fmt: skip
        await app(scope, receive, send)

    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        app = application(Settings(place, None, place / "state", upstream="https://cloud.invalid"))
        asyncio.run(get())
    return said.decode()


def policy() -> str:
    """docs/policy.md from the rules."""
    from hardtack.policy.docs import render

    return render()


USUAL = {
    "ecrRegistry": "123456789012.dkr.ecr.us-west-2.amazonaws.com",
    "balena": {"deviceUuid": "any"},
}
"""What installations set that the chart leaves empty, for docs/network-requirements.md."""


def network_requirements() -> str:
    """The page with its tables, from the chart's values and the lock."""
    from hardtack.deploy.requirements import settings_of
    from hardtack.deploy.requirements_page import render
    from hardtack.deploy.valuefiles import over, read_values
    from hardtack.images.lockfile import read_lock

    values = read_values(file for file in [ROOT / "charts/hardtack/values.yaml"] if file.exists())
    locks = [*ROOT.glob("images.lock"), *(ROOT / "deploy").rglob("images.lock")]
    registries = {i.reference.registry for lock in locks for i in read_lock(lock).images}
    text = render(settings_of(over(values, USUAL), registries))
    return between((ROOT / "docs/network-requirements.md").read_text(), "requirements", text)


def between(page: str, name: str, text: str) -> str:
    """`page` with `text` between its markers called `name`."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    head, _, rest = page.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        sys.exit(f"no markers {begin} … {end}")
    return f"{head}{begin}\n{text}{end}{tail}"


def chart() -> str:
    """charts/hardtack/README.md from the comments of its values."""
    import chart_readme

    return chart_readme.render(ROOT / "charts" / "hardtack" / "values.yaml", MADE)


def ready_checks() -> str:
    """docs/ready-checks.md from the checks of `hardtack ready`."""
    from hardtack.deploy.ready.checks import table

    return (
        f"# The checks of `hardtack ready`\n\n{MADE}\n"
        "For whoever reads a row of its table, or has a program read it: what it proves, and what "
        "mends it.\n\n"
        "A row of `hardtack ready --json` names its check; so do `ready.json` and the metric "
        "`hardtack_ready_amiss`. A name keeps its meaning.\n\n" + table()
    )


def prepare_steps() -> str:
    """docs/ready.md with the table of what `box prepare` does."""
    from hardtack.deploy.prepare.run import STEPS

    rows = [
        f"| {s.name} | {s.about} | {s.undo if isinstance(s.undo, str) else 'taken back'} |\n"
        for s in STEPS
    ]
    table = "| step | what it does | `--undo` |\n| --- | --- | --- |\n" + "".join(rows)
    return between((ROOT / "docs/ready.md").read_text(), "steps", table)


def endpoint_api() -> str:
    """docs/endpoint-api.md from the endpoint's OpenAPI description."""
    import api_page

    return api_page.render(MADE)


PAGES = {
    "docs/endpoint-api.md": endpoint_api,
    "charts/hardtack/README.md": chart,
    "docs/exit-codes.md": exit_codes,
    "docs/commands.md": commands,
    "docs/metrics.md": metrics,
    "docs/policy.md": policy,
    "docs/ready.md": prepare_steps,
    "docs/ready-checks.md": ready_checks,
    "docs/network-requirements.md": network_requirements,
}


def main() -> None:
    stale = []
    for name, render in PAGES.items():
        path, text = ROOT / name, render()
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.write_text(text)
    if stale and "--check" in sys.argv:
        sys.exit(f"not up to date: {', '.join(stale)}; run ./run docs")


if __name__ == "__main__":
    main()
