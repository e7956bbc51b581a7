"""Finds the encrypted layers in what was decrypted, as an inventory finds those of a message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import BinaryIO

from sectool import cms
from sectool.cms.contents import bare_decompressed_blocks, signed_blocks
from sectool.errors import LimitExceeded, MalformedMessage, UnsupportedMessage
from sectool.message import Content
from sectool.mime.header import header_of
from sectool.mime.limits import DEFAULT_LIMITS, Limits
from sectool.mime.transfer_encoding import stream_of
from sectool.smime.finding.survey import UNDER_COMPRESSION, UNDER_SIGNATURE, survey_inside
from sectool.smime.parts import CoveredPart, EncryptedPart, NestedContent, Unreached
from sectool.values import dataclass

_BARE_ENVELOPES = frozenset(
    {cms.ENVELOPED_DATA, cms.AUTH_ENVELOPED_DATA, cms.SIGNED_AND_ENVELOPED_DATA, cms.ENCRYPTED_DATA}
)
_NO_MIME = frozenset({cms.DIGESTED_DATA, cms.AUTHENTICATED_DATA, cms.TST_INFO})
"""Types that hold no mail; one that is not known is looked at as id-data is."""
_NO_HEADER = "an envelope lies inside without a MIME header"


@dataclass(frozen=True, slots=True)
class Inside:
    """The encrypted layers of one plaintext."""

    parts: tuple[EncryptedPart, ...] = ()
    """Those that something else can be put in the place of, in order."""
    covered: tuple[CoveredPart, ...] = ()
    """Those in contents that exist only decoded."""
    problem: str = ""
    """Why there may be more; empty where all was looked into."""
    unreached: tuple[Unreached, ...] = ()
    """Envelopes that are counted and never taken."""


def layer_path(part: EncryptedPart) -> str:
    """What a layer is called that is a part of a plaintext."""
    return part.path or "0"


def look_inside(content: Content, content_type: str, limits: Limits = DEFAULT_LIMITS) -> Inside:
    """Looks at every entity of a plaintext; opens no encryption.

    Args:
        content: the plaintext.
        content_type: of it, dotted, as its envelope says.
        limits: bounds on hostile input.

    Raises:
        MessageError: the plaintext could not be read.
    """
    try:
        if content_type == cms.SIGNED_DATA:
            return _under(content, signed_blocks, UNDER_SIGNATURE.reason, limits)
        if content_type == cms.COMPRESSED_DATA:
            return _under(content, bare_decompressed_blocks, UNDER_COMPRESSION.reason, limits)
        if content_type in _BARE_ENVELOPES:
            return Inside(problem=_NO_HEADER)
        if content_type in _NO_MIME:
            return Inside()
        found = survey_inside(content, limits, header_of(content, limits).line_end)
        return Inside(
            tuple(found.parts), tuple(found.covered), found.uncounted, tuple(found.unreached)
        )
    except LimitExceeded as error:
        return Inside(problem=error.message)


def _under(
    content: Content,
    blocks: Callable[[BinaryIO], Iterator[bytes]],
    reason: str,
    limits: Limits,
) -> Inside:
    """A SignedData or CompressedData without its ContentInfo.

    RFC 5652 section 5 and RFC 3274 section 1.1 allow them as content; ``blocks`` gives
    what is in them.
    """

    def opener() -> BinaryIO:
        stream = content.open()
        return stream_of(stream, blocks(stream))

    covering = NestedContent(opener)
    try:
        found = survey_inside(covering, limits, b"\r\n")
    except LimitExceeded:
        raise
    except UnsupportedMessage as error:
        return Inside(problem=error.message)
    except MalformedMessage:
        return Inside()  # nothing is under it that anybody could open
    covered = [CoveredPart(f"~{part.path}", covering, part, reason) for part in found.parts]
    covered += [replace(one, path=f"~{one.path}") for one in found.covered]
    unreached = tuple(replace(one, path=f"~{one.path}") for one in found.unreached)
    return Inside(covered=tuple(covered), problem=found.uncounted, unreached=unreached)
