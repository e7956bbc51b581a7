"""Judges before a move what it would cost: mail nobody could read, space and time."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import field
from pathlib import Path

from sectool import durable
from sectool.errors import NoSpace
from sectool.joblog import Examination
from sectool.jobs.passes.selection import walk
from sectool.jobs.session.spec import Cancel
from sectool.keys import KeyHistory, authority_names
from sectool.mailbox import Mailbox
from sectool.message import Listing
from sectool.outcome import RecipientKey, State
from sectool.progress import Progress, size_text
from sectool.summary import Preflight, Scenario, TimeRange
from sectool.values import dataclass

IsDone = Callable[[Listing], bool]
"""Whether a run has nothing to do on a message."""

GROWTH = 1.02
"""New size of a message by its old one, at most."""

_BLOCK = 4096
"""Bytes of disk that a file is given at a time, on the file systems of servers."""

_HEADER = 1024
"""Bytes of a message's header, which lies with each checkpoint of it."""

_PLAINTEXT = 0.73
"""Size of a plaintext by that of the base64 it was encrypted to, where it was not opened."""

LOG_OF_MESSAGE = 2300
"""Bytes that the job log takes for each message while it is decrypted."""

LOG_OF_REPLACEMENT = 1100
"""Bytes that it takes for each message that is replaced."""

_ENOUGH_TO_BE_SURE = 0.8
"""Of the room that is estimated: with less a run would certainly end for want of it."""

DECRYPTING = (1.6, 3.3)
"""Time of ``decrypt`` by that of a scan of the same mail, as docs/performance.md has both."""

ENCRYPTING = (2.5, 5.8)
"""The same of ``encrypt``."""

CLEAR = frozenset({State.CLEAR, State.SIGNED})
"""What needs no key, before a move and after it."""

BY_NAME = frozenset({State.READABLE, State.ENCRYPTED, State.MISSING_KEY})
"""Whole mail, of which a recipient's name says whether a key will open it."""


def readable_if_opened(state: State) -> State:
    """What a look at a message calls it, of which no checkpoint is kept."""
    return State.READABLE if state is State.CHECKPOINTED else state


@dataclass(slots=True)
class Survey:
    """Collects what the verdict needs, message by message.

    Args:
        old: the keys that the mail was really opened with; None: none were given.
        new: the keys that are there after the move; None: nothing is known of them.
        writes_folders: whether the mailbox writes a folder anew as a whole.
    """

    old: KeyHistory | None
    new: KeyHistory | None
    writes_folders: bool = False
    messages: int = 0
    encrypted_bytes: int = 0
    examined_bytes: int = 0
    unreadable: int = 0
    left_over: int = 0
    unknown: int = 0
    not_selected: int = 0
    passed_over: int = 0
    """Links, other files and folders that may be mail."""
    missing: Counter[RecipientKey] = field(default_factory=Counter)
    overhead: int = 0
    """Bytes that a checkpoint takes beside the plaintext in it."""
    job_bytes: int = 0
    """Of disk that checkpoints and originals take."""
    _names: frozenset[RecipientKey] = frozenset()

    def __post_init__(self) -> None:
        if self.new is not None:
            self._names = frozenset(_names(self.new))

    def add(self, examination: Examination, state: State) -> None:
        """Takes one examined message into account, under ``state``."""
        self.messages += 1
        self.examined_bytes += examination.listing.size
        if state in CLEAR:
            return
        if state in {State.READABLE, State.ENCRYPTED}:
            self._add_job_data(examination)
        if state in BY_NAME and self._stays_readable(examination):
            return
        self.unreadable += 1
        self.unknown += state is State.ENCRYPTED
        held, layers = examination.in_history, examination.layers
        # What keeps its recipients that the owner can read now is left over as well.
        if state is not State.READABLE or any(one.needs_old_key(held) for one in layers):
            self.left_over += 1
        if state is State.MISSING_KEY:
            self.missing.update(_missing_keys(examination))

    def _add_job_data(self, examination: Examination) -> None:
        """What the job keeps of a message that opens, or may."""
        size = examination.listing.size
        self.encrypted_bytes += size
        self.job_bytes += on_disk(size)
        sizes = [checkpoint.inner_size for checkpoint in examination.checkpoints]
        for inner_size in sizes or [int(size * _PLAINTEXT)]:
            self.job_bytes += on_disk(self.overhead + _HEADER + inner_size)

    def _stays_readable(self, examination: Examination) -> bool:
        """Whether a new key is named by every part, as far as the recipients tell."""
        named = [one.recipients for one in examination.parts]
        named += [
            one.recipients
            for one in examination.layers
            if not one.reason or one.needs_old_key(examination.in_history)
        ]
        return bool(examination.parts) and not any(map(self._names.isdisjoint, named))

    def verdict(self, space_free: int | None, seconds: float, whole: int) -> Preflight:
        """What the messages so far come to.

        Args:
            space_free: of ``free_bytes``.
            seconds: that opening them took.
            whole: bytes of the mailbox, with what was not looked at.
        """
        looked_at = self.examined_bytes
        log = (LOG_OF_MESSAGE + LOG_OF_REPLACEMENT) * self.messages
        space = self.job_bytes + (GROWTH - 1) * self.encrypted_bytes + log
        # New copies wait beside, and for a while each folder is there twice.
        space += GROWTH * self.encrypted_bytes if self.writes_folders else 0
        rewritten = whole if self.writes_folders else 0
        return Preflight(
            safe_to_move=not (self.unreadable or self.not_selected or self.passed_over),
            reason=self._reason(),
            unreadable_if_moved_now=self.unreadable,
            unreadable_after_decrypting=None if self.old is None else self.left_over,
            missing_keys=dict(sorted(self.missing.items(), key=_by_count)),
            scenario=_scenario(self.old, self.new),
            space_needed=int(space * _whole_by(looked_at, whole)) + rewritten,
            space_free=space_free,
            seconds=None if self.old is None else _times(seconds * _whole_by(looked_at, whole)),
        )

    def _reason(self) -> str:
        if self.unknown and self.old is None:
            return "no keys were given, so it is not known what opens"
        if self.left_over:
            return f"messages that nothing here opens, or not wholly: {self.left_over}"
        if self.unreadable:
            return "decrypt first: the new keys do not open what the old ones do"
        if self.not_selected:
            return f"messages that were not looked at: {self.not_selected}"
        if self.passed_over:
            return (
                f"links, other files or folders that may be mail and were passed over:"
                f" {self.passed_over}"
            )
        return ""


def _missing_keys(examination: Examination) -> frozenset[RecipientKey]:
    """Recipients of the parts that none of them opens: those beside a held key are others'."""
    return frozenset(
        key
        for part in examination.parts
        if part.integrity is None and examination.in_history.isdisjoint(part.recipients)
        for key in part.recipients
    )


def _by_count(item: tuple[RecipientKey, int]) -> tuple[int, str, str, str]:
    key, count = item
    return -count, *key.names


def _whole_by(looked_at: int, whole: int) -> float:
    """By how much the whole mailbox is larger than the sample that was looked at."""
    return max(whole / looked_at, 1) if looked_at else 1


def _times(seconds: float) -> tuple[TimeRange, TimeRange]:
    """How long each half of the move takes, by what opening all of it takes."""
    decrypting, encrypting = (
        TimeRange(seconds * low, seconds * high) for low, high in (DECRYPTING, ENCRYPTING)
    )
    return decrypting, encrypting


def on_disk(size: int) -> int:
    """Bytes of disk that a file of so many bytes takes."""
    return -(-size // _BLOCK) * _BLOCK


def space_for_checkpoint(size: int) -> int:
    """Bytes of disk that a checkpoint takes, with the header that lies in it.

    Args:
        size: of ``CheckpointStore.size_of``.
    """
    return on_disk(size + _HEADER)


def space_to_replace(size: int) -> int:
    """Bytes of disk that replacing a message of this size takes: its original is kept."""
    return on_disk(size) + int(size * (GROWTH - 1)) + LOG_OF_REPLACEMENT


def check_room(directory: Path, needed: int, progress: Progress) -> None:
    """Holds that a job directory has room for what a run is about to write.

    Args:
        directory: of the job.
        needed: bytes, as they are estimated.
        progress: told where it may be too little.

    Raises:
        NoSpace: it certainly is; nothing was written.
    """
    try:
        free = durable.free_bytes(directory)
    except OSError:
        return
    if free >= needed:
        return
    text = f"this takes about {size_text(needed)}, and {size_text(free)} are free there"
    hint = "free some, or go on in portions with --folder or --limit"
    if free < needed * _ENOUGH_TO_BE_SURE:
        raise NoSpace(text, hint=hint)
    progress.warn(text, hint=hint)


def tell_room(
    directory: Path, mailbox: Mailbox, is_done: IsDone, progress: Progress, cancel: Cancel
) -> None:
    """Warns where the plaintext of a mailbox would not fit, were all that is not done encrypted."""
    try:
        free = durable.free_bytes(directory)
    except OSError:
        return
    if free >= _needed(walk(mailbox, cancel)):
        return  # also were all of it to be done, so that the log need not be asked
    needed = _needed(listing for listing in walk(mailbox, cancel) if not is_done(listing))
    if free < needed:
        progress.warn(
            f"if all of it is encrypted, this takes about {size_text(needed)}, and"
            f" {size_text(free)} are free there",
            hint="`--dry-run` says more exactly what it takes; free some, or go on in portions"
            " with --folder or --limit",
        )


def _needed(listings: Iterable[Listing]) -> int:
    return sum(
        space_for_checkpoint(int(listing.size * _PLAINTEXT)) + LOG_OF_MESSAGE
        for listing in listings
    )


def free_bytes(mailbox: Mailbox, job: Path | None) -> int | None:
    """Room in the fuller of a mailbox and the place of its job, in bytes; None: not known.

    Args:
        mailbox: asked itself.
        job: its directory, which may be still to be made; None: there is none.
    """
    found = [mailbox.free_bytes()]
    if job is not None:
        path = job.absolute()
        while not path.exists():
            path = path.parent
        with contextlib.suppress(OSError):
            found.append(durable.free_bytes(path))
    return min((free for free in found if free is not None), default=None)


def _names(history: KeyHistory) -> set[RecipientKey]:
    names = set()
    for entry in history.entries:
        names.add(RecipientKey("", "", entry.subject_key_identifier))
        if entry.has_certificate:
            names.add(RecipientKey(entry.issuer, entry.serial_number, ""))
    return names


def _scenario(old: KeyHistory | None, new: KeyHistory | None) -> Scenario | None:
    """What kind of move it is, by the public keys and the issuers alone."""
    if old is None or new is None or not old.keys:
        return None
    before = {key.public_key_info for key in old.keys}
    after = {key.public_key_info for key in new.keys}
    if before <= after:
        return Scenario.UPGRADE
    if before & after:
        return Scenario.RE_ENROLMENT
    issuers, later = authority_names(old), authority_names(new)
    shared = issuers.keys() & later.keys()
    if not shared:
        return Scenario.NEW_SITE
    anew = (issuers[name] and later[name].isdisjoint(issuers[name]) for name in shared)
    if all(later[name] for name in shared) and all(anew):
        return Scenario.CLEAN_INSTALLATION
    return Scenario.RE_ENROLMENT
