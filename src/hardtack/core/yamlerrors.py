"""Where YAML is malformed, as people look it up: file, line, column, and what is wrong there."""

from __future__ import annotations


def told(error: Exception, name: str) -> str:
    """`name:line:column: what is wrong`, both from 1, where `error` is PyYAML's and knows a line;
    else all it says."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if getattr(error, "character", None) in (0, "\0"):
        return f"{name}: it holds zeros, as a power cut leaves them"
    if mark is None:
        return f"{name}: {' '.join(str(error).split())}"
    what = getattr(error, "problem", None) or getattr(error, "context", None) or "it can't be read"
    return f"{name}:{mark.line + 1}:{mark.column + 1}: malformed YAML: {what}"
