"""What a worker does to examine one stored message: read it, open it, write checkpoints, tell.

Runs in any process. Nothing here renames, syncs, removes or logs; that is the
parent's. Only what ends the whole run is raised, everything else is the
answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import partial

from sectool import cms, smime
from sectool.budget import Work, current, limit_factor
from sectool.checkpoint import IncomingCheckpoint
from sectool.errors import (
    BudgetExceeded,
    DecryptionFailed,
    LimitExceeded,
    MalformedMessage,
    MessageError,
    MessageVanished,
    MissingKey,
    NotAccepted,
    UnsupportedMessage,
)
from sectool.joblog import (
    NOT_KNOWN,
    UNREACHED,
    UNREAD,
    CheckpointRecord,
    Examination,
    LayerRecord,
    PartRecord,
    Storage,
)
from sectool.jobs.work.checkpoint_access import CheckpointPlace
from sectool.jobs.work.open_with import find_opening, limited
from sectool.jobs.work.readers import Reader, find_readers, readers_of
from sectool.jobs.work.search_layers import LayerSearch, described, held
from sectool.jobs.work.stored_copy import known_as
from sectool.jobs.work.work import MailboxContext, NotDone, WorkKind
from sectool.keys import KeyHistory, KeyMaterial, recipient_of
from sectool.mailbox import Access
from sectool.message import InnerEntity, Listing, MessageRef, StoredMessage
from sectool.outcome import Binding, ContentDigest, HeaderDigest, Identity, RecipientKey, State
from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class Exchange:
    """How recipients are exchanged, so that no plaintext is kept."""

    profile: cms.Profile
    or_reencrypt: bool
    """Encrypt anew what must not stay encrypted as it is."""
    new: frozenset[RecipientKey]
    """The new recipients, in every way in which an envelope may name them."""

    def is_done(self, parts: Sequence[smime.EncryptedPart]) -> bool:
        """Whether every part names a new recipient."""
        return all(any(one.key in self.new for one in part.envelope.recipients) for part in parts)

    def why_refused(self, opening: cms.Opening) -> str:
        """Why the content must not stay as it is encrypted; empty where it may."""
        return "" if self.or_reencrypt else cms.why_not_rewrapped(opening, self.profile)


@dataclass(frozen=True, slots=True)
class ExamineArgument:
    """What a worker that examines messages is made from."""

    mailbox: Access
    material: KeyMaterial | None
    """The key history; None: no keys were given."""
    tried_with: str
    """Digest of the key history."""
    checkpoints: CheckpointPlace | None
    """Where checkpoints go; None: what is opened is discarded."""
    released: frozenset[str] = frozenset()
    """Content digests that a person takes although nothing proves them mail."""
    job: str = ""
    """Unique name of the job, by which it knows the marks of its plaintext copies."""
    part_selection: smime.PartSelection = field(default_factory=smime.PartSelection)
    """Which encrypted parts are taken beside the whole bodies of messages."""
    storage: Storage = Storage.PLAIN
    """What the log is to say of the plaintext of what opens."""
    shared: bool = False
    """Whether several people read the mailbox, so that it counts whose key opens a part."""
    exchange: Exchange | None = None
    """What opens is to have its recipients exchanged; None: it is to be checkpointed."""


@dataclass(frozen=True, slots=True)
class ExamineTask:
    """One stored message to look at."""

    listing: Listing
    opening: bool = True
    """False: find out what it is, but try no key."""
    guesses: tuple[Binding, ...] = ()
    """Keys that opened it on trial."""

    @property
    def ref(self) -> MessageRef:
        """The message."""
        return self.listing.ref

    @property
    def size(self) -> int:
        """Bytes as stored."""
        return self.listing.size


@dataclass(frozen=True, slots=True)
class UnknownRecipient:
    """A recipient that no key at hand answers to."""

    recipient: RecipientKey
    """Without an address."""
    kind: cms.KeyKind
    """Of the key it asks for."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found of one stored message; None: it vanished meanwhile."""

    examination: Examination | None
    incoming: tuple[IncomingCheckpoint, ...] = ()
    inner_bytes: int = 0
    """Plaintext bytes of all parts that opened."""
    unknown: tuple[UnknownRecipient, ...] = ()
    """Recipients that no key answers to, of parts that stayed shut for it."""

    def settled(self) -> Examined:
        """The same, after its checkpoints were made durable."""
        durable = tuple(replace(one, is_durable=True) for one in self.incoming)
        return replace(self, incoming=durable) if durable else self


class ExamineContext(MailboxContext):
    """The mailbox, the keys and the place for checkpoints, opened once in each worker."""

    def __init__(self, argument: ExamineArgument) -> None:
        super().__init__(argument)
        self.keys = (
            None if argument.material is None else KeyHistory.from_material(argument.material)
        )
        self.tried_with = argument.tried_with
        self.job = argument.job
        self.part_selection = argument.part_selection
        self.checkpoints = None if argument.checkpoints is None else argument.checkpoints.store()
        self.released = argument.released
        self.storage = argument.storage
        self.exchange = argument.exchange
        self.people: tuple[Reader, ...] = ()
        if argument.shared and self.keys is not None:
            self.people = readers_of(self.keys, argument.job)

    def settle(self, answers: Sequence[Examined | NotDone]) -> list[Examined | NotDone]:
        """Makes the checkpoints of a batch durable."""
        examined = [one for one in answers if isinstance(one, Examined)]
        if self.checkpoints is not None:
            self.checkpoints.make_durable([written for one in examined for written in one.incoming])
        return [one.settled() if isinstance(one, Examined) else one for one in answers]


_STATES: tuple[tuple[type[MessageError], State], ...] = (
    (MissingKey, State.MISSING_KEY),
    (UnsupportedMessage, State.UNSUPPORTED),
    (LimitExceeded, State.UNSUPPORTED),
    (NotAccepted, State.REVIEW),
    (DecryptionFailed, State.MALFORMED),
    (MalformedMessage, State.MALFORMED),
)


def examine(context: ExamineContext, task: ExamineTask) -> Examined:
    """Finds out what one stored message is, and opens its encrypted parts.

    Raises:
        MessageError: it could not be read, or asks for too much.
        NoSpace: a checkpoint could not be written.
    """
    # Before it is read: a file with holes costs whoever sends it nothing.
    current().spend(Work.SIZE, task.listing.size)
    stored = context.mailbox.fetch(task.listing.ref)
    return _within_limits(context, _examine(context, task, stored))


EXAMINE = WorkKind(ExamineContext, examine)


def examine_all(
    tasks: Iterable[ExamineTask], argument: ExamineArgument, *, workers: int
) -> Iterator[Examined]:
    """What workers find in each message; of one that could not be examined, the reason.

    Args:
        tasks: taken as workers get free.
        argument: how they are examined.
        workers: processes; 0: this one.
    """
    for task, answer in EXAMINE.run(tasks, argument, workers=workers):
        if isinstance(answer, NotDone):
            yield _not_examined(task.listing, answer, argument.tried_with)
        else:
            yield answer


def _not_examined(listing: Listing, answer: NotDone, tried: str) -> Examined:
    if issubclass(answer.error, MessageVanished):
        return Examined(None)
    examination = _unread(listing, answer.reason)
    if issubclass(answer.error, BudgetExceeded):
        examination = replace(examination, state=State.UNSUPPORTED, tried_with=_limited(tried))
    return Examined(examination)


def _within_limits(context: ExamineContext, examined: Examined) -> Examined:
    """The answer for a message of which something may not have been done beyond a limit.

    Of one that asked for too much nothing is taken: it was not looked into.
    """
    spent, examination = current(), examined.examination
    if examination is None or not (spent.reason or spent.has_declined):
        return examined
    examination = replace(examination, tried_with=_limited(context.tried_with))
    if not spent.reason:
        return replace(examined, examination=examination)
    return Examined(replace(examination, state=State.UNSUPPORTED, reason=spent.reason))


def _limited(tried: str) -> str:
    return limited(tried, limit_factor()) if tried else ""


def _unread(listing: Listing, reason: str) -> Examination:
    """What to say of a message whose bytes could not be read."""
    # Not known by content, since that could not be read; the place has to do.
    place = f"{listing.ref.folder}\0{listing.ref.key}\0{listing.hint}"
    digest = hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()
    identity = Identity(f"{UNREAD}{digest}")
    return Examination(listing, identity, State.FAILED, reason=reason, is_read=False)


def _examine(context: ExamineContext, task: ExamineTask, stored: StoredMessage) -> Examined:
    inventory = smime.take_inventory(stored.content, selection=context.part_selection)
    date = inventory.header_date or stored.internal_date
    recipients = _recipients(context.keys, inventory.parts)
    unreached = tuple(one for found in inventory.unreached for one in found.recipients)
    keys = context.keys
    if keys is not None and task.guesses:
        keys = keys.bind((), task.guesses)
    marked = inventory.mark.message if inventory.mark and inventory.mark.job == context.job else 0
    listed, size = task.listing, stored.content.size
    examination = Examination(
        listing=Listing(task.ref, size, listed.flags, listed.hint, stored.internal_date),
        identity=inventory.identity,
        state=inventory.state,
        reason=inventory.reason,
        year=str(date.year),
        message_id=inventory.message_id,
        parts=tuple(
            PartRecord(
                part.path,
                part.envelope.digest,
                part.envelope.content_encryption_algorithm,
                voids_signature=part.placement.is_under_signature,
                placement=part.placement,
                recipients=tuple(one.key for one in part.envelope.recipients),
            )
            for part in inventory.parts
        ),
        recipients=tuple(one.key for one in recipients),
        in_history=held(keys, (*recipients, *unreached)),
        tried_with=context.tried_with,
        in_clear=known_as(inventory)[1],
        marked=marked,
        header_words=tuple(smime.header_words(stored.content).elements()) if marked else (),
        layers=tuple(_unreached(inventory)),
        defects=inventory.defects,
    )
    if not (inventory.parts or inventory.covered) or keys is None or not task.opening:
        return Examined(examination)
    return _open_parts(context, keys, stored, inventory, examination)


def _recipients(
    keys: KeyHistory | None, parts: Iterable[smime.EncryptedPart]
) -> tuple[cms.RecipientDescription, ...]:
    return tuple(one for part in parts for one in described(keys, part).recipients)


def _unreached(inventory: smime.Inventory) -> Iterator[LayerRecord]:
    """Envelopes that are counted and never taken, each under a name of its own."""
    for number, found in enumerate(inventory.unreached, 1):
        names = tuple(one.key for one in found.recipients)
        path, hides = f"{UNREACHED}{number}", not found.is_complete
        yield LayerRecord(found.path, path, NOT_KNOWN, names, found.reason, hides)


@dataclass(slots=True)
class _Outcomes:
    """What came of the parts of one message, each of which is decided alone."""

    taken: list[tuple[smime.EncryptedPart, InnerEntity]] = field(default_factory=list)
    left: list[tuple[smime.EncryptedPart, InnerEntity]] = field(default_factory=list)
    """Those that open and stay as they are all the same."""
    failed: list[tuple[smime.EncryptedPart, MessageError]] = field(default_factory=list)
    refusal: str = ""
    """Why the recipients of the first one must not be exchanged for which that is so."""
    oddities: list[str] = field(default_factory=list)
    """What was odd about the names of the keys that opened them; empty where nothing was."""

    def released(self, digests: frozenset[str]) -> tuple[str, ...]:
        """The content digests of what opened, as far as they are among ``digests``."""
        opened = (part.envelope.digest for part, _ in [*self.taken, *self.left])
        return tuple(digest for digest in opened if digest in digests)


def _open_parts(
    context: ExamineContext,
    keys: KeyHistory,
    stored: StoredMessage,
    inventory: smime.Inventory,
    examination: Examination,
) -> Examined:
    outcomes = _Outcomes()
    marks: dict[str, smime.IntegrityMark] = {}
    search = LayerSearch(
        keys, context.released, context.part_selection, reseals=context.exchange is None
    )
    for part in inventory.parts:
        why = context.part_selection.why_left(part)
        try:
            found = find_opening(part, keys, context.released)
            outcomes.oddities.append(keys.why_odd(found.opening.identifier))
            if context.exchange is not None and not why:
                why = context.exchange.why_refused(found.opening)
                outcomes.refusal = outcomes.refusal or why
            plaintext = smime.content_of(found.inner)
            marks[part.path] = smime.integrity_of(stored.content, part, found.inner, plaintext)
        except MessageError as error:
            outcomes.failed.append((part, error))
            continue
        if why:
            search.keep(part, why, opened=True)
        (outcomes.left if why else outcomes.taken).append((part, found.inner))
        search.look(plaintext, found.inner.content_type, part.path, why)
    for covered in inventory.covered:
        search.take(covered)
    readers = _readers(context, keys, outcomes, search)
    if current().reason:
        return Examined(examination)
    incoming, checkpoints = _keep_checkpoints(context, stored, outcomes, search)
    if current().reason:
        return Examined(examination)
    state, reason = _state_of(context, inventory, outcomes)
    if outcomes.taken:
        _list_what_is_left(context, inventory, outcomes, search)
    # Who is named by a part that stays as it is goes on reading that; it is a layer.
    taken = [part for part, _ in outcomes.taken] or inventory.parts
    examination = replace(
        examination,
        state=state,
        reason=reason,
        parts=_marked(examination.parts, taken, marks),
        recipients=tuple(one.key for one in _recipients(keys, taken)),
        checkpoints=tuple(checkpoints),
        released=outcomes.released(context.released),
        layers=(*search.records, *examination.layers),
        in_history=examination.in_history | search.in_history,
        readers=readers,
        defects=tuple(dict.fromkeys([*examination.defects, *filter(None, outcomes.oddities)])),
    )
    size = sum(one.inner_size for one in checkpoints)
    unknown = _unknown([error for _, error in outcomes.failed])
    return Examined(examination, incoming, size, tuple(unknown))


def _readers(
    context: ExamineContext,
    keys: KeyHistory,
    outcomes: _Outcomes,
    search: LayerSearch,
) -> frozenset[tuple[str, str]]:
    """Who opens what, where several people read the mailbox."""
    if not context.people:
        return frozenset()
    people = context.people if keys is context.keys else readers_of(keys, context.job)
    return find_readers(people, outcomes.taken, search)


def _unknown(errors: Sequence[MessageError]) -> Iterator[UnknownRecipient]:
    for error in errors:
        if isinstance(error, cms.UnknownRecipients):
            for one in error.recipients:
                yield UnknownRecipient(recipient_of(one.identifier), one.kind)


def _state_of(
    context: ExamineContext, inventory: smime.Inventory, outcomes: _Outcomes
) -> tuple[State, str]:
    if outcomes.taken:
        return (State.CHECKPOINTED if context.exchange is None else State.READABLE), ""
    if outcomes.failed:
        _, error = outcomes.failed[0]
        exchange = context.exchange
        if isinstance(error, MissingKey) and exchange and exchange.is_done(inventory.parts):
            return State.NOT_IN_JOB, ""
        states = (state for kind, state in _STATES if isinstance(error, kind))
        return next(states, State.FAILED), error.message
    if outcomes.refusal:
        return State.REFUSED, outcomes.refusal
    return inventory.state, inventory.reason


def _list_what_is_left(
    context: ExamineContext,
    inventory: smime.Inventory,
    outcomes: _Outcomes,
    search: LayerSearch,
) -> None:
    """What stays as it is in a message of which something is taken."""
    for part, error in outcomes.failed:
        if context.exchange is None or not context.exchange.is_done([part]):
            search.keep(part, error.message, opened=False)
    for finding in inventory.others:
        if finding.path is not None:
            hides = finding.hides_recipients
            search.note(finding.path, finding.reason, hides_recipients=hides)


def _keep_checkpoints(
    context: ExamineContext,
    stored: StoredMessage,
    outcomes: _Outcomes,
    search: LayerSearch,
) -> tuple[tuple[IncomingCheckpoint, ...], list[CheckpointRecord]]:
    """Writes what was opened; a part that cannot be written has failed."""
    incoming: list[IncomingCheckpoint] = []
    records: list[CheckpointRecord] = []

    def keep(digest: ContentDigest, header: Callable[[], bytes], inner: InnerEntity) -> None:
        header_sha256 = None
        if context.checkpoints is not None:
            incoming.append(context.checkpoints.write(digest, header(), inner))
            header_sha256 = incoming[-1].header_sha256
        records.append(_checkpoint_record(digest, inner, context.storage, header_sha256))

    for part, inner in [*outcomes.taken, *outcomes.left]:
        header = partial(smime.outer_header, stored.content, part)
        try:
            keep(part.envelope.digest, header, inner)
        except MessageError as error:
            outcomes.failed.append((part, error))
    failed = {part.path for part, _ in outcomes.failed}
    outcomes.taken = [one for one in outcomes.taken if one[0].path not in failed]
    for layer in search.opened:
        try:
            keep(layer.content_digest, partial(bytes, layer.outer_header), layer.inner)
        except MessageError as error:
            search.keeps(layer, error.message)
    return tuple(incoming), records


def _marked(
    records: Iterable[PartRecord],
    taken: Iterable[smime.EncryptedPart],
    marks: Mapping[str, smime.IntegrityMark],
) -> tuple[PartRecord, ...]:
    paths = {part.path for part in taken}
    return tuple(
        replace(one, integrity=marks[one.path].integrity, signer=marks[one.path].signer)
        if one.path in marks
        else one
        for one in records
        if one.path in paths
    )


def _checkpoint_record(
    content_digest: ContentDigest,
    inner: InnerEntity,
    storage: Storage,
    header_sha256: HeaderDigest | None,
) -> CheckpointRecord:
    return CheckpointRecord(
        content_digest=content_digest,
        inner_sha256=inner.sha256,
        inner_size=inner.size,
        content_type=inner.content_type,
        integrity=inner.integrity,
        storage=storage,
        header_sha256=header_sha256,
    )
