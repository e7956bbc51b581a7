"""The one place where decrypted bytes become an ``InnerEntity``.

What decryption itself proves is taken as it is; what it does not prove must
pass the strict test of ``PlaintextWitness``.

Under a wrong key the length of the content-encryption key and the padding fit once in
some ten thousand messages. So where a recipient names the key, content that fits and looks
like nothing is nearly always real: text in another charset, or a small file. A person looks
at it. Keys that nothing names are tried on much mail that is not theirs: there it is garbage.
"""

from __future__ import annotations

from sectool import cms
from sectool.errors import DecryptionFailed, NotAccepted
from sectool.message import InnerEntity, Writable
from sectool.outcome import Integrity, PlaintextDigest
from sectool.smime.opening.strict_test import PlaintextWitness, Verdict

SHORT = 100
"""Bytes of content below which a key that nothing names needs proof, whatever it looks like."""


def accept(
    opened: cms.Authenticated | cms.Unproven,
    witness: PlaintextWitness,
    plaintext: Writable,
    *,
    is_named: bool,
    released: frozenset[str] = frozenset(),
) -> InnerEntity:
    """Takes a decryption for plaintext, or says why not.

    Args:
        opened: what is proven of the decryption.
        witness: has taken all of its plaintext.
        plaintext: the same.
        is_named: whether a recipient names the key, or a person gave it for this kind of
            recipient; else it was only tried.
        released: content digests of what a person has looked at and takes although it
            is not certainly mail.

    Raises:
        NotAccepted: unproven, but it could be real mail: state ``review``.
        DecryptionFailed: unproven, and it is what a wrong key gives that nothing names.
    """
    if isinstance(opened, cms.Unproven):
        verdict, reason = witness.judge()
        if verdict is Verdict.GARBAGE and not is_named:
            raise DecryptionFailed
        if verdict is Verdict.PLAINTEXT and not is_named and opened.size < SHORT:
            verdict, reason = Verdict.ODD, "it is short, and no recipient names the key"
        if verdict is not Verdict.PLAINTEXT and opened.envelope_digest not in released:
            raise NotAccepted(
                f"opened, but not certainly mail: {reason}; to take it all the same:"
                f" --accept {opened.envelope_digest}",
                hint="nothing proves that the key was right; a person has to look",
            )
    return InnerEntity(
        size=opened.size,
        sha256=PlaintextDigest(opened.sha256),
        content_type=opened.content_type,
        integrity=Integrity.AEAD if opened.aead else Integrity.NONE,
        has_header_block=witness.has_header_block(),
        content=plaintext,
    )
