"""Opens envelopes: candidate content-encryption keys, then the content, streamed (RFC 5652, 5083).

What is proven about a decryption stands in its type. Whether unproven content
is mail is for others to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from functools import partial

from cryptography.exceptions import UnsupportedAlgorithm

from sectool.budget import Work, current
from sectool.cms import oids
from sectool.cms.aead import TAG_FAILURE
from sectool.cms.algorithms import content_cipher
from sectool.cms.attempts import Attempt, Attempts, find_attempts, is_held
from sectool.cms.ciphers import ContentCipher, Decryptor, SealedContent
from sectool.cms.description import EnvelopeDescription, describe
from sectool.cms.envelope import Envelope, encrypted_content_blocks, read_envelope
from sectool.cms.limits import DEFAULT_LIMITS, Limits
from sectool.cms.recipients import UnwrappedKey
from sectool.cms.seams import (
    HashingSink,
    KeyOperations,
    KeySource,
    RecipientIdentifier,
    SenderKeys,
    Source,
)
from sectool.cms.shared_secrets import NO_SECRETS, SharedSecrets
from sectool.errors import (
    BudgetExceeded,
    DecryptionFailed,
    MessageChanged,
    MessageError,
    MissingKey,
    UnsupportedMessage,
)
from sectool.message import COPY_BLOCK, Sink
from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class _Opened:
    content_type: str
    """Of the encrypted content, dotted."""
    content_encryption_algorithm: str
    """Lower-case name such as ``aes-256-cbc``."""
    size: int
    """Bytes of plaintext."""
    sha256: str
    """Of the plaintext, lower-case hexadecimal."""
    key_label: str
    """The key that opened it, as ``KeyOperations.label`` has it."""
    identifier: RecipientIdentifier | None
    """The recipient that key was found by; None: a shared secret opened it."""
    aead: bool
    """Whether an authentication tag over the content verified."""
    envelope_digest: str
    """SHA-256 of the outer element that was opened: the content digest."""


@dataclass(frozen=True, slots=True)
class Authenticated(_Opened):
    """The right key opened it: a tag verified, or the key encryption checks itself.

    Without ``aead`` the content itself may still have been altered on its way.
    """


@dataclass(frozen=True, slots=True)
class Unproven(_Opened):
    """Key length and padding fit, which a wrong key achieves once in some ten thousand times.

    PKCS#1 v1.5 with CBC gives no better; the content must be judged before use.
    """


@dataclass(frozen=True, slots=True)
class DecryptedContent:
    """What is known of a plaintext that went to a sink."""

    size: int
    sha256: str
    """Lower-case hexadecimal."""


@dataclass(frozen=True, slots=True)
class SealedEnvelope:
    """An envelope whose content is ready to be opened under some key."""

    source: Source
    envelope: Envelope
    cipher: ContentCipher
    sealed: SealedContent
    limits: Limits

    @property
    def failure(self) -> UnsupportedMessage | DecryptionFailed:
        """What to say when a key was used and none gives the content, whatever did not fit."""
        if self.cipher.is_aead and self.envelope.content_type == oids.ENVELOPED_DATA:
            return UnsupportedMessage(TAG_FAILURE)
        return DecryptionFailed()

    @classmethod
    def prepare(cls, source: Source, envelope: Envelope, limits: Limits) -> SealedEnvelope:
        """Reads the algorithm and refuses what no key could open.

        Raises:
            MalformedMessage: content, tag or parameters cannot be whole.
            UnsupportedMessage: the algorithm is not supported.
        """
        cipher = content_cipher(
            envelope.content_encryption_algorithm, content_type=envelope.content_type
        )
        sealed = envelope.sealed_content(limits)
        cipher.check(sealed)
        return cls(source, envelope, cipher, sealed, limits)

    def decrypt(self, content_encryption_key: bytes, sink: Sink) -> DecryptedContent:
        """Writes the plaintext, unproven until this returns; what is not held is read again.

        Raises:
            DecryptionFailed: key, padding or tag do not fit.
            MalformedMessage: the source is damaged.
            MessageChanged: the source is not what was read before.
            UnsupportedMessage: the library refuses the algorithm.
            BudgetExceeded: it was decrypted often enough.
        """
        budget = current()
        decryptor = self._decryptor(content_encryption_key)
        plaintext = HashingSink(sink)

        def receive(block: bytes) -> None:
            budget.spend(Work.READING, len(block))
            plaintext.write(decryptor.update(block))

        self.give_content(receive)
        plaintext.write(decryptor.finish())
        return DecryptedContent(plaintext.size, plaintext.digest())

    def give_content(self, receive: Callable[[bytes], object]) -> None:
        """Gives the encrypted content in blocks; what is not held is read again.

        Raises:
            MalformedMessage: the source is damaged.
            MessageChanged: it is not what was read before.
        """
        if (held := self.envelope.encrypted_content) is None:
            self.read_again(receive)
        else:
            for start in range(0, len(held), COPY_BLOCK):
                receive(held[start : start + COPY_BLOCK])

    def read_again(
        self, receive: Callable[[bytes], object] | None = None, *, with_attributes: bool = False
    ) -> Envelope:
        """Reads the envelope once more, without its recipients.

        Args:
            receive: takes the encrypted content, never more of it than there was.
            with_attributes: as in ``read_envelope``.

        Raises:
            MessageChanged: it is not what was read before.
        """
        left = self.sealed.size

        def take(block: bytes) -> None:
            nonlocal left
            left -= len(block)
            if left < 0:
                raise _changed()
            if receive is not None:
                receive(block)

        with self.source.open() as stream:
            again = read_envelope(
                stream,
                self.limits,
                receive=take,
                with_recipients=False,
                with_attributes=with_attributes,
            )
        if again.digest != self.envelope.digest:
            raise _changed()
        return again

    def blocks(self, content_encryption_key: bytes) -> Iterator[bytes]:
        """The plaintext a block at a time, unproven until the last was taken.

        For content that ``decrypt`` has proven; its padding or tag is checked again.

        Raises:
            DecryptionFailed: key, padding or tag do not fit.
            MalformedMessage: the source is damaged.
        """
        budget = current()
        decryptor = self._decryptor(content_encryption_key)
        with self.source.open() as stream:
            held = self.envelope.encrypted_content
            blocks = encrypted_content_blocks(stream, self.limits) if held is None else (held,)
            for block in blocks:
                budget.spend(Work.READING, len(block))
                yield decryptor.update(block)
        yield decryptor.finish()

    def _decryptor(self, content_encryption_key: bytes) -> Decryptor:
        if len(content_encryption_key) not in self.cipher.key_sizes:
            raise DecryptionFailed
        try:
            return self.cipher.decryptor(content_encryption_key, self.sealed)
        except UnsupportedAlgorithm:
            oid = self.envelope.content_encryption_algorithm.oid
            name = oids.content_encryption_name(oid)
            raise UnsupportedMessage(f"content encryption {name} is switched off here") from None


def _changed() -> MessageChanged:
    return MessageChanged("the encrypted message changed between two readings")


@dataclass(frozen=True, slots=True)
class Opening:
    """One content-encryption key that may be the right one."""

    key_label: str
    identifier: RecipientIdentifier | None
    is_named: bool
    """Whether the recipient names this key; else it only happened to fit."""
    _unwrapped: UnwrappedKey = field(repr=False)
    _sealed: SealedEnvelope = field(repr=False)

    @property
    def sealed(self) -> SealedEnvelope:
        """The envelope it opens."""
        return self._sealed

    @property
    def content_encryption_key(self) -> bytes:
        """As the recipient's key gave it; it must not be stored."""
        return self._unwrapped.content_encryption_key

    def decrypt(self, sink: Sink) -> Authenticated | Unproven:
        """Decrypts the content into a sink, reading the source at most once.

        The sink receives plaintext *before* padding or tag are checked. It must
        discard what it holds, or be discarded, when this raises.

        Raises:
            DecryptionFailed: padding or tag do not fit.
            MalformedMessage: the source is damaged.
            MessageChanged: the source is not what ``find_openings`` read.
            UnsupportedMessage: the cryptographic library refuses the algorithm.
        """
        content = self._sealed.decrypt(self._unwrapped.content_encryption_key, sink)
        envelope = self._sealed.envelope
        aead = self._sealed.cipher.is_aead  # its tag verified
        result = Authenticated if aead or self._unwrapped.is_proven else Unproven
        return result(
            content_type=envelope.encrypted_content_type,
            content_encryption_algorithm=oids.content_encryption_name(
                envelope.content_encryption_algorithm.oid
            ),
            size=content.size,
            sha256=content.sha256,
            key_label=self.key_label,
            identifier=self.identifier,
            aead=aead,
            envelope_digest=envelope.digest,
        )

    def blocks(self) -> Iterator[bytes]:
        """The content a block at a time, after ``decrypt`` has proven it.

        Whoever takes the last block knows that padding and tag fitted again.

        Raises:
            DecryptionFailed: they do not fit any more.
            MalformedMessage: the source is damaged.
        """
        return self._sealed.blocks(self._unwrapped.content_encryption_key)


@dataclass(frozen=True, slots=True)
class Openings:
    """The ways an envelope may open; iterate to try them in the order of its recipients.

    Each step of the iteration uses a private key; a second iteration uses them
    again. Keys of a wrong length and repeated keys are passed over.

    Iteration raises:
        DecryptionFailed: no key gave a content-encryption key.
        MissingKey: likewise, and no recipient named any of the keys that were tried.
        MalformedMessage, UnsupportedMessage: likewise, for the reason met first; or the
            content should end in its tag.
        BudgetExceeded: no more keys are used for the message.
    """

    description: EnvelopeDescription
    _attempts: Attempts = field(repr=False)
    _sealed: SealedEnvelope = field(repr=False)

    @property
    def failure(self) -> MissingKey | UnsupportedMessage | DecryptionFailed:
        """What to say when no opening gives the content."""
        return self._attempts.failure or self._sealed.failure

    def __iter__(self) -> Iterator[Opening]:
        for openings in self.in_turn():
            yield from openings

    def in_turn(self) -> Iterator[Iterator[Opening]]:
        """The same in two turns: by keys that recipients name, then by all others.

        Whoever has the content after the first turn leaves the second, and its keys, alone.
        """
        proofs: dict[bytes, bool] = {}
        problems: list[MessageError] = []
        for named in (True, False):
            if not (named or self._attempts.is_complete):
                current().decline()
            attempts = [one for one in self._attempts.all if one.is_named is named]
            yield self._try(attempts, proofs, problems)
        if not proofs:
            raise problems[0] if problems else self.failure

    def _try(
        self, attempts: list[Attempt], proofs: dict[bytes, bool], problems: list[MessageError]
    ) -> Iterator[Opening]:
        for attempt in attempts:
            try:
                unwrapped = attempt.unwrap()
            except DecryptionFailed:
                continue  # as a key of a wrong length: ``failure`` has the one text for both
            except BudgetExceeded:
                raise
            except MessageError as error:
                if attempt.is_asked_for:
                    problems.append(error)
                continue
            content_encryption_key = unwrapped.content_encryption_key
            if len(content_encryption_key) not in self._sealed.cipher.key_sizes:
                continue
            proof = proofs.get(content_encryption_key)
            if proof is not None and proof >= unwrapped.is_proven:
                continue
            proofs[content_encryption_key] = unwrapped.is_proven
            yield Opening(
                attempt.key_label, attempt.identifier, attempt.is_named, unwrapped, self._sealed
            )


def find_openings(
    source: Source,
    keys: KeySource,
    limits: Limits = DEFAULT_LIMITS,
    *,
    known: EnvelopeDescription | None = None,
    secrets: SharedSecrets = NO_SECRETS,
    unnamed_keys: Sequence[KeyOperations] = (),
    senders: SenderKeys | None = None,
) -> Openings:
    """Finds the keys that the recipients of an envelope name.

    Args:
        source: the CMS.
        keys: private keys.
        limits: bounds on hostile input.
        known: what was read of the envelope before; it is read again only where recipients
            that a held key may name are not among those that were kept.
        secrets: shared keys and passwords, where a person gave any.
        unnamed_keys: private keys that are tried on every recipient, last.
        senders: certificates for key agreements that name their sender by one.

    The whole envelope is walked, so that damage at its end is found before any key
    is used; authenticated attributes follow the content they take part in.

    Raises:
        MissingKey: no recipient is known to ``keys``.
        MalformedMessage: it is not a whole envelope, or breaks a rule.
        UnsupportedMessage: a key is there, but the algorithm is not supported, or no
            recipient is of a kind that can be opened.
        LimitExceeded: a bound was reached.
    """
    if known is None or not known.recipients_complete:
        with source.open() as stream:
            envelope = read_envelope(stream, limits, wanted=partial(is_held, keys, secrets))
        known = describe(envelope)
    attempts = find_attempts(
        known.envelope, keys, secrets=secrets, unnamed_keys=unnamed_keys, senders=senders
    )
    sealed = SealedEnvelope.prepare(source, known.envelope, limits)
    return Openings(known, attempts, sealed)
