"""Bounds on hostile MIME input: one table, each bound with its reason.

Bodies are not bounded here; they are streamed.
"""

from __future__ import annotations

from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message may ask of us; sizes are in bytes."""

    depth: int = 64
    """Multiparts and forwarded messages open at a time: a long thread of forwards
    that each attach the one before reaches some twenty."""
    entities: int = 20_000
    """Entities of one message: a digest of a busy list holds a few thousand."""
    header_size: int = 8 * 1024 * 1024
    """One header block: twenty thousand addresses in To take a megabyte."""
    header_fields: int = 20_000
    """Fields of one header block: a mail loop leaves some hundred Received."""
    header_lines: int = 100_000
    """Lines of one header block: one for each address of a long list."""
    total_header_size: int = 16 * 1024 * 1024
    """All header blocks of one message together."""
    boundary_size: int = 16 * 1024
    """A boundary; RFC 2046 allows 70 bytes, some programs write more."""
    parameters: int = 200
    """Parameters of one Content-Type, with the sections of RFC 2231."""
    nested_contents: int = 6
    """Contents inside contents (a signed message in a signed message)."""
    tnef_elements: int = 50_000
    """Attributes, properties and values of one TNEF: a long meeting series has a few thousand."""
    tnef_depth: int = 8
    """Messages embedded in each other in one TNEF."""
    armour_search: int = 64 * 1024
    """How far into a text an OpenPGP or a uuencoded message is looked for."""
    held_content: int = 32 * 1024 * 1024
    """Bytes of a content inside that are held in memory, so that its bodies are not decoded
    from its beginning each."""
    archive_size: int = 32 * 1024 * 1024
    """An attached archive or compound file that is looked into, decoded: it is held in memory."""
    archive_entries: int = 5_000
    """Files in such an archive, or streams in such a file."""
    archive_depth: int = 3
    """Archives in archives."""
    envelopes_unreached: int = 64
    """Envelopes that are named of those which cannot be taken; each is read from where it lies."""
    envelope_hints: int = 100_000
    """Object identifiers of which each is tried as the beginning of an envelope, in one body."""


DEFAULT_LIMITS = Limits()
