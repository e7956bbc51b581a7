"""Answers for each old key whether anything in the mailbox still needs it.

Every message is read and its recipients are held against the old keys; what
the new keys really open counts as free of them. Replaced messages are also
looked into, in their checkpoint or through the new keys, since an envelope
inside the envelope kept its old recipients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sectool import smime
from sectool.errors import CheckpointDamaged, MessageError
from sectool.jobs.checkpoints import CheckpointPlace
from sectool.jobs.job import Job
from sectool.jobs.keyring import open_part, workers_for
from sectool.jobs.pool import Died, run_tasks
from sectool.jobs.spec import Cancel, JobSpec
from sectool.jobs.walk import count, walk
from sectool.keys import HeldKey, KeyHistory, KeyMaterial, newest_entry
from sectool.mailbox import Mailbox, MailboxSpecification, open_mailbox
from sectool.message import Content, Listing
from sectool.outcome import RecipientKey, RetiredKey, State
from sectool.progress import Progress

LAYERS = 7
"""Envelopes inside each other that are looked at."""


@dataclass(frozen=True, slots=True)
class NeedArgument:
    """What a worker that looks for needed keys is made from."""

    mailbox: MailboxSpecification
    retired: KeyMaterial
    """The old keys."""
    current: KeyMaterial | None
    """The new keys."""
    checkpoints: CheckpointPlace


@dataclass(frozen=True, slots=True)
class NeedTask:
    """One stored message to look at."""

    listing: Listing
    checkpoints: tuple[tuple[str, str], ...]
    """Part path and content digest of the checkpoint, where it is a replaced message."""
    resealed: frozenset[str] = frozenset()
    """Content digests of the layers in those checkpoints that were encrypted again."""
    is_new: bool = False
    """It came to the new recipients after the move, as far as its envelope tells."""

    @property
    def size(self) -> int:
        """Bytes as stored."""
        return self.listing.size


@dataclass(frozen=True, slots=True)
class Needs:
    """Which old keys one message needs, by their number in the history."""

    keys: frozenset[int] = frozenset()
    unread: bool = False
    """It could not be read, so nothing is known."""


class NeedContext:
    """The mailbox, both histories and the checkpoints, opened once in each worker."""

    def __init__(self, argument: NeedArgument) -> None:
        self.mailbox = open_mailbox(argument.mailbox)
        self.retired = KeyHistory.from_material(argument.retired)
        self.current = _others(argument.current, self.retired)
        self.checkpoints = argument.checkpoints.store()
        self.numbers = {id(key.operations): n for n, key in enumerate(self.retired.keys)}


def _others(current: KeyMaterial | None, retired: KeyHistory) -> KeyHistory | None:
    """The new keys, less those that are asked about: no key stands in for itself."""
    if current is None:
        return None
    asked = {key.public_key_info for key in retired.keys}
    history = KeyHistory.from_material(current)
    return KeyHistory(key for key in history.keys if key.public_key_info not in asked)


def find_needs(context: NeedContext, task: NeedTask) -> Needs:
    """Which of the old keys one stored message needs."""
    try:
        content = context.mailbox.fetch(task.listing.ref).content
        inventory = smime.take_inventory(content)
        if _is_opaque(inventory) or inventory.hidden:
            return Needs(unread=True)
        if task.is_new and context.current is None and (inventory.parts or inventory.covered):
            return Needs(unread=True)  # an envelope to an old key may have been forwarded in it
        kept = dict(task.checkpoints)
        layers: list[_Layer] = [(content, part, kept.get(part.path)) for part in inventory.parts]
        layers += [(covered.content, covered.part, None) for covered in inventory.covered]
        return Needs(frozenset(_needed(context, layers, task.resealed, LAYERS)))
    except (MessageError, CheckpointDamaged, MemoryError):
        # One that vanished may have been moved to a folder that was walked before.
        return Needs(unread=True)


def _is_opaque(inventory: smime.Inventory) -> bool:
    """Whether it is a file that no header could be read of, such as a compressed one."""
    readable = inventory.parts or inventory.message_id or inventory.header_date
    return inventory.state is State.UNSUPPORTED and not readable


_Layer = tuple[Content, smime.EncryptedPart, str | None]
"""An encrypted part, the content it lies in, and the content digest of its checkpoint if any."""


def _needed(
    context: NeedContext, layers: list[_Layer], resealed: frozenset[str], depth: int
) -> Iterator[int]:
    """Old keys that a reader of these layers needs, or of those inside what can be looked into.

    Raises:
        MessageError: what lies inside a plaintext cannot be told.
    """
    if layers and not depth:
        raise MessageError(f"more than {LAYERS} envelopes lie inside each other")
    for content, part, checkpoint in layers:
        if part.envelope.digest in resealed:
            # It is in the checkpoint only: in the mailbox another stands in its place.
            inside = _kept(context, part.envelope.digest)
            if inside is None:
                raise MessageError("a layer that was encrypted again cannot be looked into")
            yield from _needed(context, _inside(*inside), resealed, depth - 1)
            continue
        named = set(_named(context, part))
        inside = _kept(context, checkpoint)
        opened = False
        if context.current is not None and (named or inside is None):
            opened, plaintext = _open(content, part, context.current)
            inside = inside or plaintext
        if not opened:
            yield from named
        if checkpoint is not None and inside is None:
            # An envelope that keeps its recipients may lie inside of what was replaced.
            raise MessageError("neither its checkpoint nor a new key opens it")
        if inside is not None:
            yield from _needed(context, _inside(*inside), resealed, depth - 1)


def _named(context: NeedContext, part: smime.EncryptedPart) -> Iterator[int]:
    for recipient in part.envelope.recipients:
        if recipient.identifier is not None:
            for key in context.retired.find(recipient.identifier):
                yield context.numbers[id(key)]


def _inside(plaintext: Content, content_type: str) -> list[_Layer]:
    inside = smime.look_inside(plaintext, content_type)
    if inside.problem:
        raise MessageError(inside.problem)
    layers: list[_Layer] = [(plaintext, part, None) for part in inside.parts]
    return layers + [(covered.content, covered.part, None) for covered in inside.covered]


_Plaintext = tuple[Content, str]
"""A plaintext and its content type, dotted."""


def _kept(context: NeedContext, content_digest: str | None) -> _Plaintext | None:
    if content_digest is None:
        return None
    try:
        checkpoint = context.checkpoints.open(content_digest)
    except CheckpointDamaged:
        return None  # purged, as a rule
    return checkpoint.inner, checkpoint.content_type


def _open(
    content: Content, part: smime.EncryptedPart, keys: KeyHistory
) -> tuple[bool, _Plaintext | None]:
    """Whether the new keys open a part, and its plaintext, which is never kept."""
    try:
        inner = open_part(content, part, keys)
        return True, (smime.content_of(inner), inner.content_type)
    except MessageError:
        return False, None


# --- in the parent ------------------------------------------------------------------


def retire(
    spec: JobSpec,
    job: Job,
    mailbox: Mailbox,
    retired: KeyHistory,
    current: KeyHistory | None,
    *,
    progress: Progress,
    cancel: Cancel,
) -> list[RetiredKey]:
    """One answer for each key of ``retired``, after a walk that matched the job.

    Args:
        spec: ``accept_unproven``: a structural proof is enough.
        job: its log says which messages were replaced, and how that was proven.
        mailbox: read whole, whatever the selection is.
        retired: the old keys.
        current: the new keys; None: what names an old key needs it.
        progress: told of each message.
        cancel: asked between messages.
    """
    argument = NeedArgument(
        mailbox=mailbox.specification,
        retired=retired.material,
        current=None if current is None else current.material,
        checkpoints=job.place,
    )
    progress.begin("retire", count(mailbox, progress, cancel))
    needed: Counter[int] = Counter()
    unread = 0
    for answer in run_tasks(
        find_needs,
        _tasks(job, mailbox, cancel),
        make_context=NeedContext,
        context_argument=argument,
        workers=workers_for(spec.workers, retired, current),
    ):
        if isinstance(answer, Died) or answer.unread:
            unread += 1
        else:
            needed.update(answer.keys)
        progress.advance()
    progress.end()
    unknown = _Unknown(
        unread=unread,
        passed_over=len(mailbox.passed_over),
        lost=job.log.replaced.count_lost_encrypted(),
        unproven=0 if spec.accept_unproven else job.log.replaced.count_unproven(),
        without_new_keys=current is None,
    )
    sealed_to = frozenset(job.place.sealed_to if job.log.messages.parts.sealed(1) else ())
    return [
        _answer(key, needed[number], unknown, sealed_to) for number, key in enumerate(retired.keys)
    ]


def _tasks(job: Job, mailbox: Mailbox, cancel: Cancel) -> Iterator[NeedTask]:
    for listing in walk(mailbox, cancel):
        known = job.log.messages.at(listing.ref)
        checkpoints: tuple[tuple[str, str], ...] = ()
        resealed = frozenset[str]()
        if known is not None and known.replaced:
            resealed = job.log.messages.parts.layers.resealed(known.message)
            parts = job.log.messages.parts.of(known.message)
            checkpoints = tuple((part.path, part.checkpoint.content_digest) for part in parts)
        is_new = known is not None and known.state is State.NEW
        yield NeedTask(listing, checkpoints, resealed, is_new)


@dataclass(frozen=True, slots=True)
class _Unknown:
    """What speaks for every old key, since nobody could look whether it is needed."""

    unread: int
    passed_over: int
    lost: int
    unproven: int
    without_new_keys: bool

    @property
    def reason(self) -> str:
        """The first there is; empty where there is none."""
        if self.unread:
            remedy = "; add --verify-keys" if self.without_new_keys else ""
            return f"messages that could not be read: {self.unread}{remedy}"
        if self.passed_over:
            return (
                f"links and other files that may be mail and were passed over: {self.passed_over}"
            )
        if self.lost:
            return f"messages that were never replaced and are lost: {self.lost}"
        if self.unproven:
            return f"replaced messages that were not opened with the new key: {self.unproven}"
        return ""


def _answer(
    key: HeldKey, messages: int, unknown: _Unknown, sealed_to: frozenset[str]
) -> RetiredKey:
    reason = unknown.reason
    if not sealed_to.isdisjoint(certificate.fingerprint for certificate in key.certificates):
        reason = reason or "the job's checkpoints are sealed to it: purge them first"
    if messages:
        reason = f"messages that need it: {messages}"
    elif not key.certificates:
        # Mail names a certificate by issuer and serial number, as a rule.
        reason = "without a certificate of it nobody can tell which mail needs it: give that, too"
    return RetiredKey(_name(key), key.source.name, messages, not reason, reason)


def _name(key: HeldKey) -> RecipientKey:
    entry = newest_entry(key)
    return RecipientKey(entry.issuer, entry.serial_number, entry.subject_key_identifier)
