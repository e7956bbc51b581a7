"""Finds the messages of a job again in a mailbox that may have moved, and in no wrong one.

Where name and hint are those the log knows, the copy is taken as the same for
now (its bytes are held against the job before it is replaced); every other
copy is read and known by its content.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import field, replace

from sectool.errors import MessageError, NotThisMailbox
from sectool.joblog import Examination, StoredCopy
from sectool.jobs.passes.own_copies import has_header_of_original
from sectool.jobs.passes.selection import (
    FURTHER_LISTINGS,
    check_shown,
    count,
    paged,
    walk,
    walk_again,
)
from sectool.jobs.replacing.in_flight import in_flight
from sectool.jobs.session.job import MAILBOX_VALUE, Job, rehearse_job
from sectool.jobs.session.session import JobSession
from sectool.jobs.session.spec import Cancel
from sectool.jobs.work.examine import (
    ExamineArgument,
    ExamineTask,
    examine_all,
)
from sectool.mailbox import Mailbox
from sectool.message import Listing, MessageRef
from sectool.outcome import State
from sectool.progress import NoProgress, Progress
from sectool.summary import Summary
from sectool.values import dataclass

IN_CLEAR = frozenset({State.CLEAR, State.SIGNED})
"""States of mail that is not encrypted."""

_LEFT_IN_CLEAR = (
    "it is a plaintext of this job that came back, and what it could be encrypted from is purged"
)

GROUP = 256
"""Messages whose places are logged together."""


@dataclass(slots=True)
class Match:
    """How much of a job was found."""

    messages: int
    """Messages of the job."""
    found: int
    """Those of them that are in the mailbox."""
    in_clear: dict[int, State] = field(default_factory=dict)
    """Mail in clear that the job did not know, by message: whether it is signed."""
    unread: dict[int, Examination] = field(default_factory=dict)
    """Those of them again that lie where they were and cannot be read now, by message."""
    doubled: int = 0
    """Copies too many of them, which a server showed after their messages had another one."""

    def tell_left(self, progress: Progress, summary: Summary) -> None:
        """Says what the run leaves: messages that it could not read, and copies too many."""
        if self.doubled:
            progress.warn(
                f"of {self.doubled} messages of the job the mailbox has a copy too many",
                hint="the command that replaced them removes those when it is run again",
            )
            summary.failure_code = MessageError.exit_code
        if not self.unread:
            return
        first = next(iter(self.unread.values()))
        count = len(self.unread)
        messages = "message" if count == 1 else "messages"
        progress.warn(
            f"{count} {messages} of the job cannot be read, such as {first.ref}: {first.reason}",
            hint="check the owner, the mode and the disk, then run the same command again",
        )
        summary.failure_code = MessageError.exit_code


class Matcher:
    """One walk that holds a mailbox against a job.

    Args:
        job: whose messages are looked for.
        mailbox: where.
        workers: processes; 0: this one.
        cancel: asked between messages.
        deep: no hint is trusted, every message is read.
        takes_newcomers: whether what is not of the job is taken down; False: it is
            left to the caller.
    """

    def __init__(
        self,
        job: Job,
        mailbox: Mailbox,
        *,
        workers: int,
        cancel: Cancel,
        deep: bool = False,
        takes_newcomers: bool = True,
    ) -> None:
        self._takes_newcomers = takes_newcomers
        self._deep = deep
        self._log = job.log
        self._job = job
        self._mailbox = mailbox
        self._workers = workers
        self._cancel = cancel
        self._unmatched: list[Examination] = []
        self._unclaimed: set[MessageRef] = set()
        self._unread: dict[int, Examination] = {}
        self._in_clear: dict[int, State] = {}
        self._in_flight: dict[MessageRef, int] = {}
        self._met: list[int] = []
        self._resembling = 0

    def run(self, progress: Progress) -> Match:
        """Gives the job's messages their present places, and takes down what is not of the job."""
        check_shown(self._job, self._mailbox)
        self._in_flight = in_flight(self._job, self._mailbox, workers=self._workers)
        progress.begin("match", count(self._mailbox, progress, self._cancel))
        self._log.messages.begin_walk(unseen="lost")
        self._look_at(walk(self._mailbox, self._cancel), progress)
        for _ in range(FURTHER_LISTINGS):
            self._log.messages.copies.begin_listing()
            self._met.clear()
            with self._log.group():  # one transaction for all the questions
                missed = walk_again(self._mailbox, self._cancel, self._was_seen)
            if not missed:
                break
            self._look_at(missed, progress)
        # A folder may have been shut meanwhile.
        check_shown(self._job, self._mailbox)
        self._settle_unmatched()
        messages, found = self._log.counts.found()
        progress.end()
        if self._resembling:
            progress.warn(
                f"{self._resembling} messages in clear have the text of decrypted ones, and nothing"
                " says that they are copies of these: they stay as they are",
                hint="look at them; `sectool encrypt --include-clear` encrypts mail in clear",
            )
        return Match(
            messages, found, self._in_clear, self._unread, self._log.replacements.count_late()
        )

    def _look_at(self, listings: Iterable[Listing], progress: Progress) -> None:
        group: list[Examination] = []
        for examination in self._examinations(listings, progress):
            progress.advance()
            self._cancel.check()
            group.append(examination)
            if len(group) >= GROUP:
                self._claim(group)
                group = []
        self._claim(group)

    def _was_seen(self, listing: Listing) -> bool:
        ref, log = listing.ref, self._log
        if (replaced := self._in_flight.get(ref)) is not None:
            self._met.append(replaced)
            return True
        if ref in self._unclaimed or log.replacements.is_late_at(ref):
            return True
        return log.messages.copies.look_back(listing)

    def _examinations(
        self, listings: Iterable[Listing], progress: Progress
    ) -> Iterator[Examination]:
        argument = ExamineArgument(
            mailbox=self._mailbox.access,
            material=None,
            tried_with="",
            checkpoints=None,
            job=self._job.name,
        )
        tasks = self._unfamiliar(listings, progress)
        for answer in examine_all(tasks, argument, workers=self._workers):
            if answer.examination is not None:
                yield answer.examination

    def _unfamiliar(self, listings: Iterable[Listing], progress: Progress) -> Iterator[ExamineTask]:
        for page in paged(listings):
            with self._log.group():
                unfamiliar = [listing for listing in page if not self._is_familiar(listing)]
            if familiar := len(page) - len(unfamiliar):
                progress.advance(familiar)
            for listing in unfamiliar:
                yield ExamineTask(listing, opening=False)

    def _is_familiar(self, listing: Listing) -> bool:
        """Whether what lies at a place need not be read to tell which message it is."""
        if self._log.replacements.is_late_at(listing.ref):
            return True
        if (replaced := self._in_flight.get(listing.ref)) is not None:
            # The new copy of a message that an interrupted run was replacing.
            self._met.append(replaced)
            return True
        known = self._log.messages.at(listing.ref)
        if known is None or known.listing.hint != listing.hint or self._deep:
            return False
        self._log.messages.see(known.message)
        return True

    def _claim(self, group: list[Examination]) -> None:
        # Before a copy of it elsewhere, what lies where the job knows a message.
        group.sort(key=lambda one: self._log.messages.at(one.ref) is None)
        with self._log.group():
            for examination in group:
                if self._log.messages.claim_examined(examination) is None:
                    self._unmatched.append(examination)
                    self._unclaimed.add(examination.ref)

    def _settle_unmatched(self) -> None:
        # Only now is it certain which messages of the job no copy claimed.
        messages = self._log.messages
        with self._log.group():
            take = messages.copies.take_moved
            unmatched = [one for one in self._unmatched if not (one.is_read and take(one))]
            for message in self._met:
                self._log.replacements.meet(message)
            is_complete = True
            for examination in unmatched:
                is_complete = is_complete and examination.is_read
                if not examination.is_read and (known := messages.stays(examination.ref)):
                    # Of what was never read the job keeps nothing.
                    if known.stored_copy is not StoredCopy.UNREAD:
                        self._unread[known.message] = examination
                    continue
                if self._log.replacements.follow(examination, self._met):
                    continue
                self._settle(examination)
            if is_complete:
                self._log.replacements.forget_abandoned()
        self._unmatched.clear()
        self._met.clear()

    def _settle(self, examination: Examination) -> None:
        messages, listing = self._log.messages, examination.listing
        is_own = has_header_of_original(self._job, examination)
        if messages.copies.claim(examination, is_own) is not None:
            return
        if self._takes_newcomers and messages.copies.join(examination) is not None:
            return
        if messages.claim_returned(listing, examination.identity) is not None:
            return
        if messages.mark_changed(
            listing, examination.message_id, only_replaced=not self._takes_newcomers
        ):
            return
        if self._takes_newcomers and messages.copies.record_copy(examination) is None:
            newcomer = self._newcomer(examination)
            if newcomer.state is not State.FAILED:
                self._resembling += messages.copies.resemble(examination)
            message = messages.record(newcomer)
            if examination.state in IN_CLEAR:
                self._in_clear[message] = examination.state

    def _newcomer(self, examination: Examination) -> Examination:
        """What to call a copy that is none of the job's messages."""
        if not examination.is_read:
            return examination
        if self._log.messages.copies.is_left_in_clear(examination):
            return replace(examination, state=State.FAILED, reason=_LEFT_IN_CLEAR)
        parts = examination.parts
        digests = [part.content_digest for part in parts]
        known = self._log.messages.parts.checkpoints(digests)
        if parts and known.keys() >= {*digests} and examination.state is State.ENCRYPTED:
            # What the job has in other surroundings, such as a forward of it.
            marked = tuple(
                replace(part, integrity=known[part.content_digest].integrity) for part in parts
            )
            layers = tuple(
                replace(layer, part=part.path)
                for part in marked
                for layer in self._log.messages.parts.layers.of_part(part.content_digest)
            )
            return replace(examination, state=State.CHECKPOINTED, parts=marked, layers=layers)
        held = self._log.messages.parts.held_recipients()
        if parts and not held.isdisjoint(examination.recipients):
            reason = "it came later, and only an old key opens it"
            return replace(examination, state=State.OLD_KEY, reason=reason)
        return replace(examination, state=State.NOT_IN_JOB)


def match_again(on: JobSession, *, partial: bool, deep: bool) -> Match:
    """Walks the mailbox and gives the job's messages their present places.

    A mailbox that the job was never at is tried on a copy of the log first, so
    that a wrong one leaves no trace in it.

    Args:
        on: whose messages are looked for, and where; noted as the job's place from now on.
        partial: go on although most of the job is missing.
        deep: no hint is trusted, every message is read.

    Returns:
        What was found; a message that cannot be read counts as found.

    Raises:
        NotThisMailbox: less than half of the job is found here.
    """

    def match(job: Job, tell: Progress) -> Match:
        matcher = Matcher(job, on.mailbox, workers=on.workers, cancel=on.cancel, deep=deep)
        return matcher.run(tell)

    job, here = on.job, on.mailbox.specification.url
    if job.mailbox != here and not on.dry_run:
        with rehearse_job(job.directory, job.trust) as rehearsal:
            check_found(match(rehearsal, NoProgress()), here, partial=partial)
    found = match(job, on.progress)
    check_found(found, here, partial=partial)
    with job.log.group():
        job.log.set_value(MAILBOX_VALUE, here)
    return found


def check_found(match: Match, here: str, *, partial: bool) -> None:
    """Holds that this is the mailbox of the job.

    Args:
        match: what was found.
        here: URL of the mailbox.
        partial: it is, whatever was found.

    Raises:
        NotThisMailbox: less than half of the job is found here.
    """
    if match.found * 2 < match.messages and not partial:
        raise NotThisMailbox(
            f"{here} holds only {match.found} of the {match.messages} messages of the job",
            hint="name the mailbox the user was moved to, or add --partial if this is it",
        )
