"""docs/endpoint-api.md, from the endpoint's OpenAPI description."""

from __future__ import annotations

from typing import Any

from hardtack.endpoint import openapi


def render(made: str) -> str:
    """The page; `made` is its note of where it comes from."""
    told = openapi.description()
    parts = [
        f"# The endpoint's API\n\n{made}\n"
        "For whoever writes a program that asks a box without the Groundlight SDK.\n\n"
        "The Groundlight SDK's, and the box's own. `/openapi.json` of a running endpoint is the "
        f"same as OpenAPI {told['openapi']}, with every field. Each path is answered under "
        f"`{openapi.PREFIX}` too.\n"
    ]
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            parts.append(f"## {method.upper()} {path}\n\n{operation['summary']}.\n")
            if rows := [
                f"| `{p['name']}` | {_range(p['schema'])} | {p.get('description', '')} |"
                for p in operation.get("parameters", [])
            ]:
                parts.append("| parameter | | |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n")
            if "requestBody" in operation:
                parts.append(f"Body: {operation['requestBody']['description']}\n")
            answers = [f"| {s} | {r['description']} |" for s, r in operation["responses"].items()]
            parts.append("| status | |\n| --- | --- |\n" + "\n".join(answers) + "\n")
    return "\n".join(parts)


def _range(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(schema["enum"])
    if "pattern" in schema:
        return f"`{schema['pattern']}`"
    low, high = schema.get("minimum"), schema.get("maximum")
    return f"{schema['type']} from {low} to {high}" if low is not None else str(schema["type"])
