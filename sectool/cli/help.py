"""How ``--help`` of a command looks: its options in sections, in words and not in types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

_SERVER = "A mailbox on a server"

SECTIONS: dict[str, tuple[str, ...]] = {
    "What it works on": (
        *("--job", "--mailbox", "--dry-run", "--in-place", "--nested", "--wrapped"),
        *("--restore-subject", "--include-clear", "--restart-phase", "--to-stage", "--abandon"),
        *("--older-than", "--check", "--quick", "--deep", "--or-reencrypt", "--reason", "--yes"),
    ),
    "Keys and certificates": (
        *("--keys", "--new-keys", "--to", "--verify-keys", "--retire", "--give-up", "--owner"),
        *("--shared", "--profile", "--also-classic", "--accept-certificate", "--seal-to"),
        *("--seal-keys", "--secrets", "--try-keys", "--try-tokens"),
    ),
    "Passphrases and trust": (
        *("--passphrase-file", "--passphrases", "--passphrase-command", "--no-mac-check"),
        *("--pin-file", "--trust-group"),
    ),
    "Which mail it takes": (
        *("--folder", "--since", "--before", "--limit", "--retry", "--accept"),
        *("--break-signatures", "--leave-attachments"),
    ),
    _SERVER: (),
    "When something fails or is missing": (
        *("--max-failures", "--acknowledge", "--limit-factor", "--partial", "--restore-lost"),
        *("--accept-lost", "--accept-unproven"),
    ),
    "Output": (
        *("--html", "--csv", "--messages", "--json", "--json-lines", "--quiet", "--verbose"),
        *("--workers", "--help"),
    ),
}
"""Every option by the heading it stands under; what is not named here is of a server."""


def section_of(option: Sequence[str]) -> str:
    """The heading that an option of these names stands under."""
    return next((title for title, names in SECTIONS.items() if {*option} & {*names}), _SERVER)


class Command(TyperCommand):
    """One command, with the help of this module."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words of the line that begins with ``Usage``."""
        parameters: list[Any] = self.get_params(ctx)
        taken = [one for one in parameters if one.param_type_name == "argument"]
        words = (one.metavar or "" for one in taken)
        needed = (one.required for one in taken)
        return [
            "[OPTIONS]",
            *(
                word if is_needed or word.startswith("[") else f"[{word}]"
                for word, is_needed in zip(words, needed, strict=True)
            ),
        ]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes arguments and options, each with what it takes and what it does."""
        arguments: list[tuple[str, str]] = []
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in SECTIONS}
        parameters: list[Any] = self.get_params(ctx)
        for parameter in parameters:
            if parameter.param_type_name == "argument":
                arguments.append((parameter.metavar or "", parameter.help or ""))
            else:
                entry = (_names(parameter), _what(parameter))
                sections[section_of(parameter.opts)].append(entry)
        for title, entries in {"Arguments": arguments, **sections}.items():
            if entries:
                with formatter.section(title):
                    formatter.write_dl(entries)


def _names(option: Any) -> str:
    names = ", ".join(sorted(option.opts, key=len))
    takes_value = not (option.is_flag or _is_counted(option))
    return f"{names} {option.metavar}" if takes_value and option.metavar else names


def _is_counted(option: Any) -> bool:
    return bool(getattr(option, "count", False))


def _what(option: Any) -> str:
    """What it does, and what is so without it."""
    told = [option.help or ""]
    lowest, highest = (getattr(option, name, None) for name in ("min", "max"))
    if lowest is not None and highest is not None and not _is_counted(option):
        told.append(f"From {lowest} to {highest}.")
    shows_default = isinstance(option.default, (str, int)) and not option.is_flag
    if shows_default and option.default not in {"", "*"} and not _is_counted(option):
        told.append(f"Default: {option.default}.")
    if option.required:
        told.append("Required.")
    return " ".join(told)
