"""What Helm's functions yield, as far as values alone decide it."""

from __future__ import annotations

import json
import math
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from hardtack.manifests.numbers import Whole, printed
from hardtack.manifests.place import Severity
from hardtack.manifests.yamlpos import parse


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """PyYAML's, and whole numbers that functions made."""


_Dumper.add_representer(Whole, lambda dumper, number: dumper.represent_int(int(number)))


class Unknown(Exception):
    """Why an expression can't be told without running Helm."""


class Context(dict[str, Any]):
    """A template's outermost `.`: what isn't there is Helm's to say, not empty."""


def walk(value: Any, path: list[str]) -> Any:
    """What stands at the path of keys below the value. Raises Unknown."""
    for step in path:
        if isinstance(value, Unknown):
            break
        if isinstance(value, Context) and step not in value:
            raise Unknown(f".{'.'.join(path)} is set while the template runs")
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, Unknown):
        raise Unknown(str(value))
    return value


def shown(value: Any) -> str:
    """A value as a template prints it. Raises Unknown."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return printed(value)
    return to_yaml(value) if isinstance(value, (dict, list)) else str(value)


def to_yaml(value: Any) -> str:
    """A value as `toYaml` prints it. Raises Unknown where a part of it can't be told."""
    if value is None:
        return ""
    try:
        text: str = yaml.dump(value, Dumper=_Dumper, width=1_000_000, allow_unicode=True)
    except yaml.YAMLError:  # a Context, or an Unknown, in it: plain values are all it takes
        raise Unknown("a part of the value is set while the template runs") from None
    except (RecursionError, UnicodeEncodeError) as error:
        raise Unknown(f"the value can't be written as YAML: {error}") from None
    return text.removesuffix("\n").removesuffix("\n...")


def same(value: Any) -> Any:
    """The value."""
    return value


def _indented(width: int, text: str) -> str:
    return "\n".join(" " * min(width, 100) + line for line in str(text).split("\n"))


def _printf(form: str, *given: Any) -> str:
    if set(re.findall(r"%(.?)", form)) - set("vdsq%"):
        raise ValueError(f"the form {form[:60]!r} is more than %s, %d, %v and %q")
    form = form.replace("%q", '"%s"')
    return re.sub(r"%[vd]", "%s", form) % tuple(map(shown, given))


def _dict(*given: Any) -> dict[str, Any]:
    return {str(key): value for key, value in zip(given[::2], given[1::2], strict=True)}


def _index(value: Any, *path: Any) -> Any:
    for step in path:
        value = value[step] if isinstance(value, list) else walk(value, [str(step)])
    return value


def _first(*given: Any) -> Any:
    return next((value for value in given if value), None)


def _merged(into: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    """What stands first wins."""
    both = dict(into)
    for other in others:
        for key, value in (other or {}).items():
            mine = both.get(key)
            if isinstance(mine, dict) and isinstance(value, dict):
                both[key] = _merged(mine, value)
            else:
                both.setdefault(key, value)
    return both


def _from_yaml(text: str) -> dict[str, Any]:
    documents, problems = parse(text, Path())
    if wrong := next((p for p in problems if p.severity is Severity.ERROR), None):
        raise ValueError(wrong.message)
    found = documents[0].root.plain() if documents else {}
    return found if isinstance(found, dict) else {}


def _kind(value: Any) -> str:
    """The kind Go sees in a value of a chart."""
    if isinstance(value, bool):
        return "bool"
    kinds = {str: "string", int: "float64", float: "float64", dict: "map", list: "slice"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), "invalid")


def _type(value: Any) -> str:
    kind = _kind(value)
    return {"map": "map[string]interface {}", "slice": "[]interface {}"}.get(kind, kind)


def _dig(*given: Any) -> Any:
    *path, fallback, value = given
    for step in path:
        if not isinstance(value, dict) or step not in value:
            return fallback
        value = value[step]
    return value


def _whole(value: Any) -> Whole:
    return Whole(int(value))


def _camel(value: Any) -> str:
    """`query-frontend` is QueryFrontend."""
    text = shown(value)
    if not re.fullmatch(r"(?:[a-z0-9]+(?:[-_ ](?!$))?)*", text):
        raise ValueError(f"{text[:60]!r} is more than words of small letters")
    return "".join(word[:1].upper() + word[1:] for word in re.split("[-_ ]", text))


def _until(count: Any) -> list[int]:
    return list(range(min(int(count), 1000)))


def _and(*given: Any) -> Any:
    return next((value for value in given if not value), given[-1])


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "default": lambda fallback, value=None: value or fallback,
    "coalesce": _first,
    "or": lambda *given: _first(*given) or given[-1],
    "and": _and,
    "not": lambda value: not value,
    "empty": lambda value: not value,
    "eq": lambda one, *others: one in others,
    "ne": lambda one, other: one != other,
    "ternary": lambda yes, no, condition: yes if condition else no,
    "required": lambda _, value: value,
    "quote": lambda value: f'"{shown(value)}"',
    "squote": lambda value: f"'{shown(value)}'",
    "toString": shown,
    "lower": lambda value: shown(value).lower(),
    "camelcase": _camel,
    "upper": lambda value: shown(value).upper(),
    "trim": lambda value: shown(value).strip(),
    "trimPrefix": lambda what, value: shown(value).removeprefix(what),
    "trimSuffix": lambda what, value: shown(value).removesuffix(what),
    "trimAll": lambda what, value: shown(value).strip(what),
    "trunc": lambda length, value: shown(value)[:length] if length >= 0 else shown(value)[length:],
    "replace": lambda old, new, value: shown(value).replace(old, new),
    "contains": lambda part, value: part in shown(value),
    "hasPrefix": lambda part, value: shown(value).startswith(part),
    "hasSuffix": lambda part, value: shown(value).endswith(part),
    "hasKey": lambda value, key: key in value,
    "get": lambda value, key: value.get(key, ""),
    "index": _index,
    "dict": _dict,
    "merge": _merged,
    "mustMerge": _merged,
    "mergeOverwrite": lambda *given: _merged(*reversed(given)),
    "mustMergeOverwrite": lambda *given: _merged(*reversed(given)),
    "deepCopy": same,
    "pick": lambda value, *keys: {key: value[key] for key in keys if key in value},
    "omit": lambda value, *keys: {key: each for key, each in value.items() if key not in keys},
    "fromYaml": _from_yaml,
    "fromJson": json.loads,
    "kindOf": _kind,
    "kindIs": lambda kind, value: _kind(value) == kind,
    "typeOf": _type,
    "typeIs": lambda name, value: _type(value) == name,
    "len": len,
    "has": lambda item, value: item in value,
    "concat": lambda *given: [item for each in given for item in each],
    "splitList": lambda between, value: shown(value).split(between),
    "nospace": lambda value: "".join(shown(value).split()),
    "cat": lambda *given: " ".join(map(shown, given)),
    "list": lambda *given: list(given),
    "tuple": lambda *given: list(given),
    "compact": lambda value: [each for each in value if each],
    "until": _until,
    "dig": _dig,
    "first": lambda value: value[0],
    "last": lambda value: value[-1],
    "append": lambda value, more: [*value, more],
    "uniq": lambda value: list(dict.fromkeys(value)),
    "dir": lambda path: posixpath.dirname(shown(path)) or ".",
    "base": lambda path: posixpath.basename(shown(path)) or ".",
    "join": lambda between, value: between.join(map(shown, value)),
    "printf": _printf,
    "print": lambda *given: "".join(map(shown, given)),
    "int": _whole,
    "int64": _whole,
    "add": lambda *given: Whole(sum(map(int, given))),
    "mul": lambda *given: Whole(math.prod(map(int, given))),
    "toYaml": to_yaml,
    "toJson": json.dumps,
    "indent": _indented,
    "nindent": lambda width, text: "\n" + _indented(width, text),
}
