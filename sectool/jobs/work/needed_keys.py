"""What a worker does to tell which old keys one stored message may need.

Runs in any process and changes nothing. Each envelope is judged alone, whatever the
job did with the others of its message. When in doubt, every old key may be needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, replace

from sectool import cms, smime
from sectool.budget import Work, current
from sectool.errors import (
    BudgetExceeded,
    CheckpointDamaged,
    DecryptionFailed,
    MalformedMessage,
    MessageError,
    MissingKey,
    NotAccepted,
    UnsupportedMessage,
)
from sectool.jobs.work.checkpoint_access import CheckpointPlace
from sectool.jobs.work.open_with import open_part
from sectool.jobs.work.work import MailboxContext, WorkKind, of_one_message
from sectool.keys import HeldKey, KeyHistory, KeyMaterial
from sectool.mailbox import Access
from sectool.message import Content, Listing, MessageRef
from sectool.outcome import ContentDigest, Identity
from sectool.retirement import Answer
from sectool.values import dataclass

LAYERS = 7
"""Envelopes inside each other that are looked at."""

MOVING = "moving it to the new keys (decrypt and encrypt, or rewrap)"
NOT_LOOKED_AT = "it could not be looked at"
A_LOOK = "a person's look"
A_BACKUP = f"the mail from a backup, or {A_LOOK}"
A_LIMIT = f"a larger --limit-factor, or {A_LOOK}"
NEW_KEYS = "the new keys, with --verify-keys"
A_CERTIFICATE = f"a certificate of the key, with --retire; or {NEW_KEYS}"

_SHARED = frozenset({cms.RecipientKind.KEY_ENCRYPTION_KEY, cms.RecipientKind.PASSWORD})
"""Kinds of recipient that no private key serves."""


@dataclass(frozen=True, slots=True)
class NeedArgument:
    """What a worker that looks for needed keys is made from."""

    mailbox: Access
    retired: KeyMaterial
    """The old keys."""
    current: KeyMaterial | None
    """The new keys."""
    checkpoints: CheckpointPlace


@dataclass(frozen=True, slots=True)
class NeedTask:
    """One stored message to look at."""

    listing: Listing
    checkpoints: tuple[tuple[str, ContentDigest], ...]
    """Part path and content digest of the checkpoint, where it is a replaced message."""
    resealed: frozenset[str] = frozenset()
    """Content digests of the layers in those checkpoints that were encrypted again."""
    is_new: bool = False
    """The job does not know what it holds: it came, or was changed, after decrypting."""

    @property
    def ref(self) -> MessageRef:
        """The message."""
        return self.listing.ref

    @property
    def size(self) -> int:
        """Bytes as stored."""
        return self.listing.size


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a message that speaks for keeping old keys."""

    answer: Answer
    """``needed`` or ``unclear``."""
    reason: str
    remedy: str
    """What would settle it."""
    keys: frozenset[int] | None = None
    """Numbers of the keys in the history; None: it may be any."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Which old keys one message may need."""

    findings: tuple[Finding, ...] = ()
    identity: Identity = Identity("")
    """As the message lies there; empty where it could not be read."""
    message_id: str = ""
    date: str = ""
    """ISO 8601, or empty."""


class NeedContext(MailboxContext):
    """The mailbox, both histories and the checkpoints, opened once in each worker."""

    def __init__(self, argument: NeedArgument) -> None:
        super().__init__(argument)
        self.retired = KeyHistory.from_material(argument.retired)
        self.current = _others(argument.current, self.retired)
        self.checkpoints = argument.checkpoints.store()
        self.all = frozenset(range(len(self.retired.keys)))
        # By their operations, which is what a recipient leads to.
        self._numbers = {id(key.operations): n for n, key in enumerate(self.retired.keys)}

    def named(self, recipients: Iterable[cms.RecipientDescription]) -> frozenset[int]:
        """Numbers of the old keys that recipients name."""
        return frozenset(
            self._numbers[id(key)]
            for recipient in recipients
            if recipient.identifier is not None
            for key in self.retired.find(recipient.identifier)
        )

    def unexplained(
        self, recipients: Iterable[cms.RecipientDescription], *, tried: bool
    ) -> list[cms.RecipientDescription]:
        """Those recipients of which nobody can tell whose key they ask for.

        Args:
            recipients: of one envelope.
            tried: whether the new keys were, and did not open it: an authority that was
                made anew gives serial numbers once more.
        """
        return [one for one in recipients if not self._explains(one, tried=tried)]

    def _explains(self, recipient: cms.RecipientDescription, *, tried: bool) -> bool:
        identifier = recipient.identifier
        if identifier is None:
            return recipient.kind in _SHARED
        if self.retired.find(identifier):
            return True
        return not tried and self.current is not None and bool(self.current.find(identifier))

    def holds(self, identifier: cms.RecipientIdentifier) -> bool:
        """Whether any key at hand, old or new, has this name."""
        return self.retired.holds(identifier) or bool(
            self.current and self.current.holds(identifier)
        )

    def may_serve(self, recipients: Iterable[cms.RecipientDescription]) -> frozenset[int]:
        """Numbers of the old keys that are of a kind with any of these recipients."""
        kinds = {one.kind for one in recipients}
        return frozenset(
            number
            for number, key in enumerate(self.retired.keys)
            if not kinds.isdisjoint(_kinds(key))
        )

    def without_certificate(self) -> frozenset[int]:
        """Numbers of the old keys that mail may name in a way nobody here knows."""
        return frozenset(n for n, key in enumerate(self.retired.keys) if not key.certificates)


def _others(current: KeyMaterial | None, retired: KeyHistory) -> KeyHistory | None:
    """The new keys, less those that are asked about: no key stands in for itself."""
    if current is None:
        return None
    asked = {key.public_key_info for key in retired.keys}
    history = KeyHistory.from_material(current)
    return KeyHistory(key for key in history.keys if key.public_key_info not in asked)


def _kinds(key: HeldKey) -> set[cms.RecipientKind]:
    """Kinds of recipient that a key may serve."""
    kinds = cms.RecipientKind
    if key.operations.algorithm.startswith("RSA"):
        return {kinds.KEY_TRANSPORT, kinds.OTHER}
    return {kinds.KEY_AGREEMENT, kinds.KEM, kinds.OTHER}


def find_needs(context: NeedContext, task: NeedTask) -> Needs:
    """Which of the old keys one stored message may need."""
    search = _Search(context, task)
    inventory: smime.Inventory | None = None
    try:
        with of_one_message():
            current().spend(Work.SIZE, task.listing.size)
            content = context.mailbox.fetch(task.listing.ref).content
            inventory = smime.take_inventory(content)
            search.look_at_message(inventory)
    except BudgetExceeded:
        pass  # told below, also where something on the way passed over it
    except (MessageError, CheckpointDamaged) as error:
        # One that vanished may have been moved to a folder that was walked before.
        search.unclear(f"{NOT_LOOKED_AT}: {error.message}", A_LOOK)
    spent = current()
    if spent.reason or spent.has_declined:
        search.unclear(spent.reason or "not all keys were tried on it", A_LIMIT)
    if inventory is None:
        return Needs(tuple(search.findings))
    date = inventory.header_date or task.listing.internal_date
    return Needs(
        findings=tuple(search.findings),
        identity=inventory.identity,
        message_id=inventory.message_id,
        date=date.isoformat() if date else "",
    )


FIND_NEEDS = WorkKind(NeedContext, find_needs)


_Layer = tuple[smime.EncryptedPart, ContentDigest | None]
"""An encrypted part, and the content digest of its checkpoint if any."""

_Plaintext = tuple[Content, str]
"""A plaintext and its content type, dotted."""


@dataclass(slots=True)
class _Search:
    """One search through all that is encrypted in one message."""

    context: NeedContext
    task: NeedTask
    findings: list[Finding] = field(default_factory=list)

    def needed(self, keys: frozenset[int], reason: str, remedy: str) -> None:
        """These keys are needed."""
        if keys:
            self.findings.append(Finding(Answer.NEEDED, reason, remedy, keys))

    def unclear(self, reason: str, remedy: str, keys: frozenset[int] | None = None) -> None:
        """These keys may be needed; None: all."""
        if keys is None or keys:
            self.findings.append(Finding(Answer.UNCLEAR, reason, remedy, keys))

    def look_at_message(self, inventory: smime.Inventory) -> None:
        """Judges each envelope of a message, reached or not."""
        if inventory.hidden:
            self.unclear(inventory.hidden, A_BACKUP)
        reached = inventory.parts or inventory.covered
        if reached and self.task.is_new and self.context.current is None:
            # An envelope to an old key may have been forwarded in it.
            self.unclear("it came after the move, and what lies in it is not known", NEW_KEYS)
        kept = dict(self.task.checkpoints)
        layers: list[_Layer] = [(part, kept.get(part.path)) for part in inventory.parts]
        layers += [(covered.part, None) for covered in inventory.covered]
        self._look_at_layers(layers, LAYERS)
        self._look_at_unreached(inventory.unreached)

    def _look_at_unreached(self, unreached: Iterable[smime.Unreached]) -> None:
        for one in unreached:
            remedy = A_LIMIT if one.is_over_limit else A_BACKUP
            named = self.context.named(one.recipients)
            self.needed(named, f"{one.reason}; it names the key", remedy)
            if not one.is_complete:
                self.unclear(f"{one.reason}; its recipients could not all be read", remedy)
            unexplained = self.context.unexplained(one.recipients, tried=False)
            self.unclear(
                f"{one.reason}; it names a certificate that is not at hand",
                remedy if self.context.current is not None else f"{NEW_KEYS}; {remedy}",
                self.context.may_serve(unexplained) - named,
            )

    def _look_at_layers(self, layers: list[_Layer], depth: int) -> None:
        if layers and not depth:
            self.unclear(f"more than {LAYERS} envelopes lie inside each other", A_LIMIT)
            return
        for part, checkpoint in layers:
            try:
                self._look_at_layer(part, checkpoint, depth)
            except BudgetExceeded:
                raise
            except (MessageError, CheckpointDamaged) as error:
                self.unclear(error.message, A_LOOK)

    def _look_at_layer(
        self,
        part: smime.EncryptedPart,
        checkpoint: ContentDigest | None,
        depth: int,
    ) -> None:
        context = self.context
        if part.envelope.digest in self.task.resealed:
            # It is in the checkpoint only: in the mailbox another stands in its place.
            inside = _kept(context, part.envelope.digest)
            if inside is None:
                self.unclear("a layer that was encrypted again cannot be looked into", NEW_KEYS)
        else:
            envelope = smime.describe_for(part, context.holds)
            if not envelope.recipients_complete:
                self.unclear(f"{_where(part)} has too many recipients to be kept", A_LIMIT)
            named = context.named(envelope.recipients)
            inside = _kept(context, checkpoint)
            opened = tried = is_needed = False
            if context.current is not None and (named or inside is None):
                tried = True
                opened, plaintext = _open(part, context.current)
                inside = inside or plaintext
            if not opened:
                is_needed, plaintext = self._look_with_old_keys(part, envelope, tried=tried)
                inside = inside or plaintext
            if is_needed and inside is None:
                reason = f"{_where(part)} does not open with the old key it needs"
                self.unclear(f"{reason}, so that nobody can tell what lies inside", A_LOOK)
            if checkpoint is not None and inside is None:
                # An envelope that keeps its recipients may lie inside of what was replaced.
                self.unclear("neither its checkpoint nor a new key opens it", NEW_KEYS)
        if inside is not None:
            self._look_inside(*inside, depth)

    def _look_inside(self, plaintext: Content, content_type: str, depth: int) -> None:
        inside = smime.look_inside(plaintext, content_type)
        if inside.problem and inside.problem not in {one.reason for one in inside.unreached}:
            self.unclear(f"what lies inside is not known: {inside.problem}", A_LOOK)
        layers: list[_Layer] = [(part, None) for part in inside.parts]
        layers += [(covered.part, None) for covered in inside.covered]
        self._look_at_layers(layers, depth - 1)
        self._look_at_unreached(inside.unreached)

    def _look_with_old_keys(
        self,
        part: smime.EncryptedPart,
        envelope: cms.EnvelopeDescription,
        *,
        tried: bool,
    ) -> tuple[bool, _Plaintext | None]:
        """Whether a part needs any old key, and its plaintext where one of them gives it.

        Beside those that it names, each one that opens it: it may name a certificate of the
        same key that nobody gave, as after a renewal.
        """
        context, where = self.context, _where(part)
        named = context.named(envelope.recipients)
        self.needed(named, f"{where} names the key", MOVING)
        plaintext = _open(part, context.retired)[1] if named else None
        unexplained = context.unexplained(envelope.recipients, tried=tried)
        candidates = context.may_serve(unexplained) - named
        if envelope.recipients_total > len(envelope.recipients):
            # Of those that are not kept only the names of keys at hand were looked for.
            candidates = context.all - named
        trials = envelope.recipients_total * len(candidates)
        if trials > current().left(Work.PRIVATE_KEY):
            self.unclear(
                f"{where} has too many recipients for each key to be tried on each",
                A_LIMIT,
                candidates,
            )
            candidates = frozenset()
        opens: set[int] = set()
        for number in sorted(candidates):
            found = self._try(part, number)
            if found is not None:
                opens.add(number)
                plaintext = plaintext or found[0]
        self.unclear(
            f"{where} names a certificate that is not at hand, and the key has none",
            A_CERTIFICATE,
            context.without_certificate() & candidates - opens,
        )
        return bool(named or opens), plaintext

    def _try(self, part: smime.EncryptedPart, number: int) -> tuple[_Plaintext | None] | None:
        """What one old key makes of a part that does not name it; None: it does not open it."""
        key, where, keys = self.context.retired.keys[number], _where(part), frozenset({number})
        alone = KeyHistory((replace(key, certificates=()),), tries_unnamed_keys=True)
        try:
            inner = open_part(part, alone)
        except NotAccepted:
            self.needed(keys, f"{where} opens with the key, to what may be no mail", MOVING)
            return (None,)
        except (MissingKey, DecryptionFailed):
            return None
        except BudgetExceeded:
            raise
        except (MalformedMessage, UnsupportedMessage) as error:
            self.unclear(f"{where} cannot be tried: {error.message}", A_LOOK, keys)
            return None
        self.needed(keys, f"{where} opens with the key, which it does not name", MOVING)
        return ((smime.content_of(inner), inner.content_type),)


def _where(part: smime.EncryptedPart) -> str:
    return f"the encrypted part {part.path}" if part.path else "its body"


def _kept(context: NeedContext, content_digest: ContentDigest | None) -> _Plaintext | None:
    if content_digest is None:
        return None
    try:
        checkpoint = context.checkpoints.open(content_digest)
    except CheckpointDamaged:
        return None  # purged, as a rule
    return checkpoint.inner, checkpoint.content_type


def _open(part: smime.EncryptedPart, keys: KeyHistory) -> tuple[bool, _Plaintext | None]:
    """Whether these keys open a part, and its plaintext, which is never kept.

    What may be no mail is looked into all the same, since it may hold an envelope.
    """
    digest = part.envelope.digest
    for released in (frozenset[str](), frozenset({digest})):
        try:
            inner = open_part(part, keys, released)
        except NotAccepted:
            continue
        except BudgetExceeded:
            raise
        except MessageError:
            break
        return not released, (smime.content_of(inner), inner.content_type)
    return False, None
