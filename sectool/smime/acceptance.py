"""The one place where decrypted bytes become an ``InnerEntity``.

What decryption itself proves is taken as it is; what it does not prove must
pass the strict test of ``PlaintextWitness``.
"""

from __future__ import annotations

from collections.abc import Callable

from sectool import cms
from sectool.errors import DecryptionFailed, NotAccepted
from sectool.message import InnerEntity, Sink
from sectool.outcome import Integrity
from sectool.smime.witness import PlaintextWitness, Verdict


def accept(
    opened: cms.Authenticated | cms.Unproven,
    witness: PlaintextWitness,
    write_to: Callable[[Sink], None],
    *,
    released: frozenset[str] = frozenset(),
) -> InnerEntity:
    """Takes a decryption for plaintext, or says why not.

    Args:
        opened: what is proven of the decryption.
        witness: has taken all of its plaintext.
        write_to: writes the same plaintext again.
        released: content digests of what a person has looked at and takes although it
            is not certainly mail; what is certainly none is not taken all the same.

    Raises:
        NotAccepted: unproven, but it could be real mail: state ``review``.
        DecryptionFailed: unproven, and it is what a wrong key gives.
    """
    if isinstance(opened, cms.Unproven):
        verdict, reason = witness.judge()
        if verdict is Verdict.ODD and opened.envelope_digest not in released:
            raise NotAccepted(
                f"opened, but not certainly mail: {reason}; to take it all the same:"
                f" --accept {opened.envelope_digest}",
                hint="nothing proves that the key was right; a person has to look",
            )
        if verdict is Verdict.GARBAGE:
            raise DecryptionFailed
    return InnerEntity(
        size=opened.size,
        sha256=opened.sha256,
        content_type=opened.content_type,
        integrity=Integrity.AEAD if opened.aead else Integrity.NONE,
        has_header_block=witness.has_header_block(),
        write_to=write_to,
    )
