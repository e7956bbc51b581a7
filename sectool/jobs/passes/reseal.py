"""Replaces messages by others with new envelopes, a group at a time: ``encrypt`` and ``rewrap``.

The first replacement fixes recipients and profile for the whole job.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

from sectool import cms
from sectool.cms import Profile
from sectool.errors import MessageError, UsageError
from sectool.joblog import REPLACED, JobLog, JobMessage
from sectool.jobs.passes.bring_back_lost import BroughtBack, bring_back_lost, lost_messages
from sectool.jobs.passes.failure_limit import FailureLimit
from sectool.jobs.passes.in_place import is_in_place
from sectool.jobs.passes.preflight import check_room, space_to_replace
from sectool.jobs.passes.prove import prove_replaced
from sectool.jobs.passes.replacing_pass import ReplacingPass
from sectool.jobs.passes.retry import Retry
from sectool.jobs.passes.selection import Selector
from sectool.jobs.replacing.grouping import in_order, space_to_rewrite
from sectool.jobs.replacing.replacer import check_writable
from sectool.jobs.session.job import MAILBOX_VALUE
from sectool.jobs.session.new_certificates import (
    describe_certificates,
    names_of,
    record_certificates,
)
from sectool.jobs.session.owner import is_shared
from sectool.jobs.session.session import JobSession
from sectool.jobs.session.spec import NewCertificates, Operation, Undone
from sectool.jobs.session.status_file import tell_what_lies
from sectool.jobs.session.succession import OldSide, Succession
from sectool.jobs.work.make_anew import LostArgument
from sectool.jobs.work.new_message import NewMessage
from sectool.jobs.work.seal import SEAL, SealArgument
from sectool.jobs.work.sealers import FromCheckpoints, SealingMethod
from sectool.jobs.work.work import NotDone
from sectool.keys import KeyHistory, NewRecipient, recipient_of
from sectool.outcome import RecipientKey
from sectool.progress import Progress
from sectool.summary import EncryptingSummary

Waiting = Callable[[], Iterator[JobMessage]]
"""The messages that wait; asked more than once, and each time as the log has them then."""


class Resealing:
    """The replacing half of one run on one job.

    Args:
        on: the job whose messages are replaced, and where they are; its selection counts.
        new: what a person said of the new recipients.
        recipients: the new ones.
        undone: what to do with messages that were not done, or are not.
        method: where the new envelopes come from.
        waiting: which messages wait, once the walk has found them.
        new_keys: opens what was replaced (G1, ``opened``); None: that waits for ``verify``.
        old_keys: the key history, where it is at hand; what lies beside it names people.
        retry: what the walk tries once more; None: the messages that wait say it.
        restart_phase: take other recipients than those that are fixed.
        restore_subject: show the protected Subject outside, too.
    """

    def __init__(
        self,
        on: JobSession,
        new: NewCertificates,
        recipients: Sequence[NewRecipient],
        *,
        undone: Undone,
        method: SealingMethod,
        waiting: Waiting,
        new_keys: KeyHistory | None,
        old_keys: KeyHistory | None = None,
        retry: Retry | None = None,
        restart_phase: bool = False,
        restore_subject: bool = False,
    ) -> None:
        job = on.job
        self._on = on
        self._new = new
        self._job = job
        self._log = job.log
        self._mailbox = on.mailbox
        self._recipients = tuple(recipients)
        self.method = method
        """Another one may be set as long as nothing was replaced, when a walk finds out more."""
        self._waiting = waiting
        self._new_keys = new_keys
        self._histories = (old_keys, new_keys)
        self._restart_phase = restart_phase
        self._restore_subject = restore_subject
        self._retry = retry or Retry(job.log, on.operation, is_asked_for=undone.retry)
        percent = on.failure_percent(undone.max_failures)
        self._failures = FailureLimit(percent, job.log.standings.of_all(REPLACED))
        self.replacing = ReplacingPass(on)
        self._failure_code = 0
        self._space = 0
        self._rehearsed: list[JobMessage] = []

    # --- what is fixed ----------------------------------------------------------------

    def check(self, old: OldSide | None, progress: Progress) -> None:
        """Holds that the run may begin: as it was fixed, to the right person, where one can write.

        Args:
            old: what is known of whose the mail was; None: nothing is.
            progress: told what a person should look at.

        Raises:
            UsageError: the job was begun with other recipients or another profile.
            CertificateUnusable: the new certificates are not of the person whose mail it is.
            ReadOnlyMailbox: the mailbox cannot be written.
        """
        if not self._restart_phase:
            check_fixed(self._fixed_options(), self._options(), self._on.operation)
        succession = Succession(self._on, self._new, old, progress)
        self._recipients = succession.check(self._recipients)
        check_writable(self._mailbox, dry_run=self._on.dry_run)

    def _options(self) -> str:
        return options_of(self._recipients, self._new.profile)

    def _fixed_options(self) -> str:
        phase = self._log.phase(self._on.operation)
        return NOT_FIXED if phase is None else phase[1]

    # --- the phase --------------------------------------------------------------------

    def begin(self) -> None:
        """Notes that the phase is on, and where the mailbox is; starts it over where asked to.

        Raises:
            UsageError: it cannot start over while a message has two copies, or where
                one was in clear before.
        """
        restarts = self._fixed_options() not in {NOT_FIXED, self._options()}
        if restarts and self._log.replacements.open():
            raise UsageError(
                "a message has two copies, so that the phase cannot be restarted",
                hint="run `sectool encrypt` with the former --to and --profile first",
            )
        in_clear_before = self._log.waiting.count_in_clear_before() if restarts else 0
        if in_clear_before:
            # Half of the job for other recipients would be what nobody asked for.
            raise UsageError(
                f"{in_clear_before} messages were in clear before, and only a rollback undoes that",
                hint="run `sectool rollback` and `sectool decrypt`, then `sectool encrypt` again",
            )
        with self._log.group():
            self._log.set_value(MAILBOX_VALUE, self._mailbox.specification.url)
            self._log.set_phase(self._on.operation, "begun", self._fixed_options())
            if restarts:
                self._log.waiting.restart()
                self._note_options()

    def finish_if_done(self) -> None:
        """Notes that the phase is over where nothing waits any more; inside a group."""
        is_left = next(self._waiting(), None) is not None
        if not is_left and not self._log.replacements.open():
            self._log.set_phase(self._on.operation, "finished", self._fixed_options())

    # --- the work -----------------------------------------------------------------------

    def run(self, progress: Progress) -> None:
        """Replaces every message that waits and is selected; in a dry run counts them.

        Raises:
            NoSpace: disk or quota full; the same command resumes.
            Interrupted: the run was asked to stop; the same command resumes.
        """
        if self._on.dry_run:
            self._rehearse()
            return
        self._tell_left_behind(progress)
        self._failures.tell(progress)
        sizes = [message.size for message in self._retry.narrow(self._waiting())]
        if self._on.selection.is_everything and not is_in_place(self._log):
            # What was decrypted in place has its original in the job already.
            check_room(self._job.directory, sum(map(space_to_replace, sizes)), progress)
        progress.begin(self._on.operation, len(sizes))
        self.replacing.run(
            SEAL,
            self._tasks(),
            self._argument(),
            take=lambda _, new: new,
            give_up=self._take_down,
            act=self._carry_out,
            progress=progress,
        )

    def bring_back_lost(self, checkpoints: FromCheckpoints, progress: Progress) -> BroughtBack:
        """Puts back what the walk, which has ended, did not find; in a dry run counts it.

        Raises:
            NoSpace: disk or quota full; the same command resumes.
            Interrupted: the run was asked to stop; the same command resumes.
        """
        lost = lost_messages(self._on.selection, self._job)
        if self._on.dry_run or not lost:
            return BroughtBack(len(lost))
        self._fix_options()
        originals = self._job.directory / "originals"
        argument = LostArgument(self._argument(), checkpoints, originals)
        return bring_back_lost(lost, argument, self.replacing, progress)

    def _tell_left_behind(self, progress: Progress) -> None:
        left = self._log.waiting.count_left_behind() if self._restart_phase else 0
        if left:
            self._failure_code = MessageError.exit_code
            progress.warn(
                f"{left} messages stay encrypted as they are: there is no checkpoint of them",
                hint="begin another job on them, with the former new keys as old ones",
            )

    def _rehearse(self) -> None:
        self._rehearsed = list(self._tasks())
        self._space = sum(space_to_replace(message.size) for message in self._rehearsed)
        self._space += space_to_rewrite(self._mailbox, self._rehearsed)

    def _argument(self) -> SealArgument:
        return SealArgument(
            mailbox=self._mailbox.access,
            method=self.method,
            files=self.replacing.files,
            recipients=self._recipients,
            profile=self._new.profile,
            restore_subject=self._restore_subject,
            shared_job=self._job.name if is_shared(self._job) else "",
        )

    def _tasks(self) -> Iterator[JobMessage]:
        selector = Selector(self._on.selection)
        for message in in_order(self._on.mailbox, self._retry.narrow(self._waiting())):
            listing = message.listing
            if self._failures.leaves(listing, self._on.selection):
                continue
            if selector.takes(listing):
                self._retry.takes(message.message)
                yield message

    def _carry_out(self, group: Sequence[NewMessage]) -> None:
        self._fix_options()
        self._note_taken(group)
        self.replacing.replacer.carry_out(group)
        states = self._log.standings.of(new.message for new in group)
        for new in group:
            self._failures.saw(new.ref.folder, states[new.message])

    def _note_taken(self, group: Sequence[NewMessage]) -> None:
        """Notes what messages in clear will open to, before any has a new copy."""
        taken = [(new.message, new.taken) for new in group if new.taken is not None]
        if taken:
            with self._log.group():
                for message, part in taken:
                    self._log.messages.parts.take_clear(message, part)

    def _fix_options(self) -> None:
        if self._fixed_options() == NOT_FIXED:
            with self._log.group():
                self._note_options()

    def _note_options(self) -> None:
        """Notes what the rest of the phase has to keep to; inside a group."""
        self._log.set_phase(self._on.operation, "begun", self._options())
        record_certificates(self._log, self._recipients, self._new.owners)

    def _take_down(self, message: JobMessage, answer: NotDone) -> None:
        self._failure_code = self._failure_code or answer.failure_code
        self._failures.saw(message.ref.folder, answer.state)
        with self._log.group():
            self._log.messages.advance(message.message, answer.state, reason=answer.reason)

    def prove(self) -> None:
        """Opens what was replaced, where the new keys are there; after ``finish_if_done``."""
        if self._new_keys is not None and not self._on.dry_run:
            prove_replaced(self._on, self._new_keys)

    # --- what came of it --------------------------------------------------------------------

    def describe(self, summary: EncryptingSummary) -> None:
        """Adds how far the phase is, counts and new certificates to a summary."""
        phase = self._on.operation
        summary.is_finished = (self._log.phase(phase) or ("",))[0] == "finished"
        summary.failure_code = self._failure_code
        summary.left_folders = list(self._failures.left.values())
        summary.retried = self._retry.outcome(REPLACED)
        self._log.counts.summarise(summary)
        describe_certificates(summary, self._recipients, self._new.owners, self._new.profile)
        describe_losing_access(
            summary, self._log, self._rehearsed, self._recipients, self._histories
        )
        tell_what_lies(summary, self._job)
        if self._on.dry_run:
            summary.space = self._space
            summary.would_change = len(self._rehearsed)


# --- what the first replacement of a phase fixes for the rest of it -------------------------------
# Half a mailbox for one set of keys and half for another is what nobody wants,
# so a run with other parameters is refused and told which; ``--restart-phase``
# takes the new ones, and what was encrypted with the former is encrypted again.


NOT_FIXED = ""
"""Options of a phase that has replaced nothing yet: a later run may choose others."""

_SHOWN = 16
"""Digits of a fingerprint that are told."""


def options_of(recipients: Sequence[NewRecipient], profile: Profile) -> str:
    """Recipients and profile as the log keeps them."""
    fingerprints = sorted(recipient.fingerprint for recipient in recipients)
    return json.dumps({"to": fingerprints, "profile": profile.value}, sort_keys=True)


def check_fixed(fixed: str, wanted: str, operation: Operation) -> None:
    """Holds that a run has the parameters that the first replacement fixed.

    Args:
        fixed: as ``options_of`` gave them then, or ``NOT_FIXED``.
        wanted: those of this run.
        operation: the phase; only ``encrypt`` has kept what it can start over from.

    Raises:
        UsageError: they differ; it names each that does, with both values.
    """
    if fixed in {NOT_FIXED, wanted}:
        return
    told = "; ".join(_differences(json.loads(fixed), json.loads(wanted)))
    hint = "give the same as before"
    if operation is Operation.ENCRYPT:
        hint += ", or add --restart-phase to encrypt all of it anew"
    else:
        hint += ", or undo it with `sectool rollback` and begin another job"
    raise UsageError(
        f"this job was begun with other recipients or another profile: {told}", hint=hint
    )


def _differences(fixed: dict[str, object], wanted: dict[str, object]) -> Iterator[str]:
    for name in sorted(fixed.keys() | wanted.keys(), reverse=True):
        before, now = fixed.get(name), wanted.get(name)
        if before != now:
            yield f"--{name} was {_told(before)} and is {_told(now)}"


def _told(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"{text[:_SHOWN]}…" for text in value)
    return str(value)


# --- who could read the mail before, and cannot after ---------------------------------------------


_SENT = re.compile(
    "sent|outbox|gesendet|postausgang|envoy|enviad|inviat|posta in uscita|verzonden|skickat|"
    "sendt|lähetetyt|wysłane|odeslan|отправленн|送信済|已发送|已傳送|보낸",
    re.IGNORECASE,
)
"""What mail programs call the folder of sent mail: a Maildir has no ``\\Sent`` (RFC 6154)."""


def describe_losing_access(
    summary: EncryptingSummary,
    log: JobLog,
    messages: Iterable[JobMessage],
    recipients: Sequence[NewRecipient],
    histories: Iterable[KeyHistory | None],
) -> None:
    """Counts who could read messages with a key that is neither in the history nor a new one.

    Who has another certificate at hand that names an address of a new one loses nothing.

    Args:
        summary: what is counted goes there.
        log: knows the recipients of the messages as they were found.
        messages: those that would be encrypted to ``recipients``, beside those that are.
        recipients: the new ones.
        histories: keys at hand, with the certificates that lay beside them.
    """
    covered = names_of(recipients)
    addresses = dict(chain.from_iterable(map(_addresses_at_hand, histories)))
    named = chain(
        log.messages.parts.strangers_of_replaced(),
        (
            (key, message.ref.folder, 1)
            for message in messages
            for key in log.messages.parts.strangers(message.message)
        ),
    )
    losing: Counter[RecipientKey] = Counter()
    for key, folder, count in named:
        known = addresses.get(key, ())
        if key in covered or any(one.names(*known) for one in recipients):
            continue
        losing[key] += count
        if _SENT.search(folder):
            summary.losing_access_sent[key] += count
    summary.losing_access = dict(losing)
    summary.addresses_at_hand = {key: addresses[key] for key in losing if addresses.get(key)}


def _addresses_at_hand(
    history: KeyHistory | None,
) -> Iterator[tuple[RecipientKey, tuple[str, ...]]]:
    """The mail addresses of certificates that lay beside the keys, by how envelopes name them."""
    for held in () if history is None else history.others:
        if held.parsed is None:
            continue
        addresses = cms.certificate_addresses(held.parsed)
        yield recipient_of(cms.IssuerAndSerialNumber(held.issuer, held.serial_number)), addresses
        if held.subject_key_identifier is not None:
            yield RecipientKey("", "", held.subject_key_identifier.hex()), addresses
