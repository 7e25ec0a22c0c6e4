"""`docs/policy.md`, made from the rules."""

from __future__ import annotations

from hardtack.policy.rule import Example, Rule
from hardtack.policy.rules import FAMILIES

_HEAD = """\
# Policy: does anything reach for the network?

<!-- Made from the rules by `./run docs`; don't edit it by hand. -->

For whoever writes manifests that a box must start from alone, and for the CI that reads them.

    hardtack policy check PATH… [--config policy.toml] [--lock images.lock]
                          [--format text|json|sarif|github] [--strict] [--fix]
    hardtack policy rules
    hardtack policy explain RULE

`check` reads manifests, Helm templates, compose files, Dockerfiles, scripts and image lists, and
names every line that would make a box ask the network, or fail without it. It ends with 1 when it
finds an error, with `--strict` a warning too. It changes nothing, unless `--fix` is given: then
safe fixes are made, line by line, with comments and layout kept, and what is left is reported.

## Suppressing a finding

    # hardtack: allow RULE reason

on the line itself or on a line of its own above it; in a Helm template also
`{{/* hardtack: allow RULE reason */}}`. A suppression without a reason, and one that suppresses
nothing, are findings themselves.

## Configuration

`policy.toml` in the working directory, or the file that `--config` names. Every key may be left
out.

```toml
platforms = ["linux/amd64", "linux/arm64"]     # of the fleet; default: those of images.lock
credentials = ["registry.example/uploader"]    # images that may hold cloud credentials

[[own]]                                        # images you build yourself, by pattern
images = "registry.example/*"
pull-policies = ["Always", "IfNotPresent"]     # that they may have; default: any
floating-tags = true                           # the default; false: checked like others'

[rules.one-version]
severity = "note"                              # error, warning or note

[rules.preload-unused]
off = "the lists are shared with another product"
```
"""


def render() -> str:
    """The whole page."""
    parts = [_HEAD, _table()]
    for family, rules in FAMILIES:
        parts.append(f"## {family}\n")
        parts += [explain(rule) for rule in rules]
    return "\n".join(parts)


def explain(rule: Rule, level: int = 3) -> str:
    """One rule in Markdown: what it means, how it looks wrong and right, what `--fix` does."""
    lines = [
        f"{'#' * level} {rule.id}",
        "",
        f"*{rule.severity}*: {rule.title}.",
        "",
        rule.explanation,
        "",
    ]
    if rule.fix:
        lines += [f"`--fix` {rule.fix}.", ""]
    for label, shown in (("Wrong", rule.wrong), ("Right", rule.right)):
        lines += [f"{label}:", "", *_files(shown)]
    if rule.also:
        also = ", ".join(f"`{name}`" for name in rule.also)
        lines += [f"The wrong example breaks {also} too.", ""]
    return "\n".join(lines)


def _files(shown: Example) -> list[str]:
    lines = []
    for name, text in shown.files.items():
        language = {"yaml": "yaml", "lock": "toml", "toml": "toml"}.get(name.rpartition(".")[2])
        lines += [f"```{language or 'dockerfile'}", f"# {name}", text.rstrip("\n"), "```", ""]
    return lines


def _table() -> str:
    lines = ["## All rules", "", "| rule | severity | | `--fix` |", "| --- | --- | --- | --- |"]
    for _, rules in FAMILIES:
        for rule in rules:
            fix = "yes" if rule.fix else ""
            lines.append(f"| [{rule.id}](#{rule.id}) | {rule.severity} | {rule.title} | {fix} |")
    return "\n".join(lines) + "\n"
