"""The page of the JSON documents, the schema and the tool say the same."""

from __future__ import annotations

import re
from pathlib import Path

from jsonschema import Draft202012Validator

from sectool.cli.app import EXIT_CODES
from sectool.outcome import Integrity, State
from tests.support.documents import SCHEMA, members, resolved

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "json.md"
DEFINITIONS = SCHEMA["$defs"]


def row(path: str, member: dict[str, object], is_always: bool) -> str:
    kind = member.get("type", "integer")
    text = " or ".join(kind) if isinstance(kind, list) else kind
    return f"| `{path}` | {text} | {'yes' if is_always else 'no'} | {member['description']} |"


def page() -> str:
    """The tables as the schema has them."""
    parts = []
    for reference in SCHEMA["oneOf"]:
        name = reference["$ref"].rpartition("/")[2]
        schema = resolved(reference)
        rows = [row(*found) for found in members(schema)]
        head = ["| member | type | always there | what it is |", "|---|---|---|---|"]
        title = name.replace("_", " ")
        lead = [f"## A {title}", "", f"{schema['description']}.", ""]
        parts.append("\n".join([*lead, *head, *rows]))
    return "\n\n".join(parts) + "\n"


def test_the_page_names_every_member_of_the_schema_and_no_other() -> None:
    told = PAGE.read_text(encoding="utf-8")
    assert told[told.index("## A report") :] == page()


def test_the_schema_is_one_and_takes_nothing_that_it_does_not_name() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    for definition in DEFINITIONS.values():
        for _, member, _ in members(definition):
            assert member.get("description")
            if "object" in member.get("type", ()):
                assert "additionalProperties" in member


def test_the_words_of_the_schema_are_those_of_the_tool() -> None:
    assert DEFINITIONS["state"]["enum"] == list(State)
    assert DEFINITIONS["counts"]["propertyNames"]["enum"] == list(State)
    assert DEFINITIONS["report"]["properties"]["integrity"]["propertyNames"]["enum"] == list(
        Integrity
    )
    assert set(DEFINITIONS["exit_code"]["enum"]) >= set().union(*EXIT_CODES.values())


def test_every_test_that_asks_for_json_holds_it_against_the_schema() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        if path != Path(__file__) and re.search(r'"--json|\.json"\)', text):
            assert not re.search(r"json\.loads\((?!json\.dumps|out\))", text), path
