"""Certificates that are not at hand and whose key is, for a program and for a person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sectool.cli.layout import counted, wrapped
from sectool.summary import BoundKey, NotTried, OpeningSummary

LISTED = 20
"""Certificates are listed up to this number; JSON lists them all."""


def as_json(summary: OpeningSummary) -> dict[str, Any]:
    """Members ``bindings`` and ``not_tried`` of the document of the command contract."""
    document: dict[str, Any] = {
        "bindings": [
            {
                **asdict(one.recipient),
                "file": one.file,
                "label": one.label,
                "messages": one.messages,
                "opened": one.opened,
                "tried": one.tried,
                "bound": one.is_bound,
            }
            for one in summary.bindings
        ]
    }
    if summary.not_tried is not None:
        document["not_tried"] = asdict(summary.not_tried)
    return document


def as_table(summary: OpeningSummary) -> Iterable[str]:
    """The same for a person, a line at a time."""
    if summary.bindings or summary.not_tried is not None:
        yield ""
    for one in summary.bindings[:LISTED]:
        yield from wrapped(_binding(one), indent=2)
    if len(summary.bindings) > LISTED:
        yield f"  and {len(summary.bindings) - LISTED} more certificates: --json lists them all"
    if summary.not_tried is not None:
        yield from _not_tried(summary.not_tried, goes_on=summary.phase != "scan")


def _binding(one: BoundKey) -> str:
    names = "name" if one.messages != 1 else "names"
    text = f"{counted(one.messages, 'message')} {names} {_certificate(one)}; key {one.file} opens"
    if not one.is_bound:
        return (
            f"{text} {one.opened} of the {one.tried} that were tried: too few to be sure of others"
        )
    return f"{text} {'it' if one.messages == 1 else 'them'}"


def _certificate(one: BoundKey) -> str:
    recipient = one.recipient
    if recipient.serial_number:
        return f"certificate {recipient.serial_number} of {recipient.issuer}"
    return f"subject key identifier {recipient.subject_key_identifier}"


def _not_tried(left: NotTried, *, goes_on: bool) -> Iterable[str]:
    if left.certificates:
        text = (
            f"no key was tried on {counted(left.certificates, 'unknown certificate')} that"
            f" {counted(left.messages, 'message')} name: it would take more than"
            f" {left.operations} private-key operations"
        )
        text += "; the same command goes on" if goes_on else "; decrypt spends more"
        yield from wrapped(text, indent=2)
    if left.on_tokens:
        text = (
            f"no key on a token was tried on {counted(left.on_tokens, 'unknown certificate')}:"
            " --try-tokens does"
        )
        yield from wrapped(text, indent=2)
