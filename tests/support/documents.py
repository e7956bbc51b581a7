"""The JSON documents of sectool, each held against the schema that ships with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

SCHEMA: dict[str, Any] = json.loads(
    (files("sectool.cli") / "report.schema.json").read_text(encoding="utf-8")
)
_VALIDATOR = Draft202012Validator(SCHEMA)


def parsed(text: str | bytes) -> dict[str, Any]:
    """The one document that a command printed on one line of standard output."""
    lines = text.splitlines()
    assert len(lines) == 1, text
    value = json.loads(lines[0])
    error = best_match(_VALIDATOR.iter_errors(value))
    assert error is None, f"{error.json_path}: {error.message}" if error else ""
    assert isinstance(value, dict)
    return value


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """A part of the schema, or what it refers to."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: dict[str, Any] = SCHEMA["$defs"][reference.rpartition("/")[2]]
    return found


def members(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Every member below a part of the schema: its path, its own schema, whether it is required."""
    schema = resolved(schema)
    for name, described in schema.get("properties", {}).items():
        member, place = resolved(described), f"{path}{name}"
        yield place, member, name in schema["required"]
        yield from members(member, f"{place}.")
        yield from members(member.get("items", {}), f"{place}[].")
