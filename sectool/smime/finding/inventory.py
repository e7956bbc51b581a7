"""Says of one stored message what it is, what is encrypted in it and what it is known by.

Reads the message, decrypts nothing and changes nothing. Whatever is wrong with
the message is in the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from sectool.errors import LimitExceeded
from sectool.message import Content
from sectool.mime.header import HeaderBlock, has_bare_cr_lines, header_of
from sectool.mime.limits import DEFAULT_LIMITS, Limits
from sectool.outcome import UNINSPECTED, Identity, State
from sectool.smime.finding.findings import Finding, Findings
from sectool.smime.finding.recognition import foreign_storage
from sectool.smime.finding.survey import survey
from sectool.smime.identity import (
    CopyIdentity,
    identities_in_clear,
    identity_of_body,
    identity_of_parts,
)
from sectool.smime.parts import (
    NOTHING_ELSE,
    CoveredPart,
    EncryptedPart,
    PartSelection,
    Unreached,
)
from sectool.smime.writing.plaintext_mark import Mark, find_mark
from sectool.values import dataclass

_MAGIC_SIZE = 16
_LONGEST_MESSAGE_ID = 998
_LONGEST_DATE = 200

_RANK = (State.MALFORMED, State.UNDER_SIGNATURE, State.UNSUPPORTED)
"""What a message is when it is several of these."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What one stored message is."""

    state: State
    """``clear``, ``signed``, ``encrypted``, ``unsupported``, ``malformed`` or ``sealed``."""
    reason: str
    """Why it is none of the first three; empty for those."""
    parts: tuple[EncryptedPart, ...]
    """Every whole EnvelopedData and AuthEnvelopedData, in order, also where the
    state says that they are not taken."""
    identity: Identity
    """What the message is known by, lower-case hexadecimal; no header line counts."""
    message_id: str
    """Of the first such field, with its angle brackets; empty where there is none."""
    header_date: datetime | None
    """Of the first Date field, aware; None where it is absent or cannot be read."""
    line_end: bytes
    """As the header has it: CRLF or LF."""
    as_copy: CopyIdentity | None = None
    """What it is known by if it is a plaintext copy; None where it cannot be one."""
    mark: Mark | None = None
    """Which plaintext copy it says it is."""
    covered: tuple[CoveredPart, ...] = ()
    """Further encrypted parts, in contents that exist only decoded: never taken."""
    hidden: str = ""
    """Why it may have recipients that could not be read; empty where there are none."""
    others: tuple[Finding, ...] = ()
    """What speaks against parts of it, whatever becomes of the others."""
    unreached: tuple[Unreached, ...] = ()
    """Envelopes that are not among ``parts``, whole or damaged, in the order of the message."""
    noticed: tuple[str, ...] = ()
    """What is odd in what is not encrypted, for a person."""
    uninspected: int = 0
    """Attached archives that cannot be looked into, and may hold mail."""

    @property
    def defects(self) -> tuple[str, ...]:
        """What is odd in it and was read all the same, and a line for each archive that was not."""
        odd = [defect for part in self.parts for defect in part.defects]
        sealed = [f"{UNINSPECTED}{number}" for number in range(1, self.uninspected + 1)]
        return tuple(dict.fromkeys([*odd, *self.noticed, *sealed]))


def take_inventory(
    content: Content,
    limits: Limits = DEFAULT_LIMITS,
    *,
    selection: PartSelection = NOTHING_ELSE,
) -> Inventory:
    """Reads a message in bounded memory, an encrypted part of it once more.

    Args:
        content: the stored bytes.
        limits: bounds on hostile input; a message beyond them is ``unsupported``.
        selection: which encrypted parts do not keep it from being ``encrypted``.

    Raises:
        MessageChanged: the content became shorter meanwhile.
        OSError: it cannot be read.
    """
    with content.open() as stream:
        head = stream.read(_MAGIC_SIZE)
    if reason := foreign_storage(head):
        return _undone(content, State.UNSUPPORTED, reason)
    if not head:
        return _undone(content, State.MALFORMED, "the message is empty")
    try:
        header = header_of(content, limits, is_message=True)
    except LimitExceeded as error:
        return _undone(content, State.UNSUPPORTED, error.message)
    if not header.fields:
        return _undone(content, State.UNSUPPORTED, "the file has no message header")
    if has_bare_cr_lines(header):
        return _undone(content, State.UNSUPPORTED, "its lines end in bare CR")
    return _of_message(content, header, limits, selection)


def _of_message(
    content: Content, header: HeaderBlock, limits: Limits, selection: PartSelection
) -> Inventory:
    try:
        findings = survey(content, limits, header.line_end)
    except LimitExceeded as error:
        findings = Findings(
            others=[Finding(State.UNSUPPORTED, error.message, hides_recipients=True)]
        )
    state, reason = _judge(findings, selection)
    mark = find_mark(header)
    identity, as_copy = Identity(""), None
    if not findings.parts or mark is not None:
        identity, as_copy = identities_in_clear(content, header)
    if findings.parts:
        identity = identity_of_parts(content, header.body_start, findings.parts)
    return Inventory(
        state=state,
        reason=reason,
        parts=tuple(findings.parts),
        identity=identity,
        message_id=_message_id(header),
        header_date=_date(header),
        line_end=header.line_end,
        as_copy=as_copy,
        mark=mark,
        covered=tuple(findings.covered),
        hidden=findings.hidden,
        others=tuple(findings.others),
        unreached=tuple(findings.unreached),
        noticed=tuple(dict.fromkeys(findings.noticed)),
        uninspected=findings.uninspected,
    )


def _undone(content: Content, state: State, reason: str) -> Inventory:
    """The answer for what has no header that could be read."""
    identity = identity_of_body(content, 0)
    return Inventory(state, reason, (), identity, "", None, b"\n", hidden=reason)


def _judge(findings: Findings, selection: PartSelection) -> tuple[State, str]:
    others = [*findings.others, *_left(findings.parts, selection)]
    for state in _RANK:
        reasons = [finding.reason for finding in others if finding.state is state]
        if reasons:
            return state, reasons[0]
    if findings.parts:
        return State.ENCRYPTED, ""
    return (State.SIGNED if findings.is_signed else State.CLEAR), ""


def _left(parts: Sequence[EncryptedPart], selection: PartSelection) -> list[Finding]:
    findings: list[Finding] = []
    for part in parts:
        if reason := selection.why_left(part):
            is_sealed = part.placement.is_under_signature
            findings.append(
                Finding(State.UNDER_SIGNATURE if is_sealed else State.UNSUPPORTED, reason)
            )
    return findings


def _message_id(header: HeaderBlock) -> str:
    value = (header.first(b"message-id") or b"")[:_LONGEST_MESSAGE_ID]
    text = value.decode("utf-8", "replace")
    if text.isprintable():
        return text
    return "".join(character for character in text if character.isprintable())


def _date(header: HeaderBlock) -> datetime | None:
    value = header.first(b"date")
    if value is None or len(value) > _LONGEST_DATE:
        return None
    try:
        date = parsedate_to_datetime(value.decode("latin-1"))
        # RFC 5322 section 3.3: "-0000" says nothing of the zone; the standard library
        # gives a naive time for it.
        aware = date if date.tzinfo else date.replace(tzinfo=UTC)
        # A year at the edge of the calendar cannot be compared with others.
        aware.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return aware
