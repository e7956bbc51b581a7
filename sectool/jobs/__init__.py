"""The engine: what the commands do, from a frozen specification to a summary.

Prints nothing and asks nobody but through the functions it is given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from sectool.budget import limits_times
from sectool.durable import explain_unforeseen, explained
from sectool.errors import PassphraseError, RunError, UsageError
from sectool.jobs.operations.decrypt import decrypt
from sectool.jobs.operations.encrypt import encrypt
from sectool.jobs.operations.purge import finish_purge, purge
from sectool.jobs.operations.rewrap import check_reason, rewrap
from sectool.jobs.operations.rollback import rollback
from sectool.jobs.operations.scan import scan
from sectool.jobs.operations.status import status
from sectool.jobs.operations.status_file import Document, Reporter
from sectool.jobs.operations.verify import verify
from sectool.jobs.session.acknowledge import acknowledging, read_acknowledgements
from sectool.jobs.session.generation import begin_generation
from sectool.jobs.session.give_up import read_give_ups
from sectool.jobs.session.job import (
    Job,
    check_apart,
    check_mailbox,
    check_way,
    is_job,
    look_at_job,
    make_directory,
    open_job,
    rehearse_job,
)
from sectool.jobs.session.new_certificates import load_certificates
from sectool.jobs.session.owner import keys_for
from sectool.jobs.session.sealed_checkpoints import (
    keep_sealed,
    load_transport_certificates,
    open_sealed,
)
from sectool.jobs.session.spec import (
    Cancel,
    JobSpec,
    NeverCancelled,
    Operation,
    Reason,
    Selection,
    default_workers,
)
from sectool.jobs.work.open_with import workers_for
from sectool.keys import (
    Ask,
    KeyHistory,
    KeyProblem,
    KeySpecification,
    ProblemKind,
    exposed_secrets,
    exposure,
    load_key_history,
)
from sectool.mailbox import Mailbox, open_mailbox, recognise, stopped_by
from sectool.progress import NoProgress, Progress
from sectool.summary import ShutKeyFile, Summary
from sectool.trust import Trust

_ACT_ON_MAIL = frozenset(
    {Operation.DECRYPT, Operation.ENCRYPT, Operation.REWRAP, Operation.ROLLBACK}
)
"""After these nothing is known of what the mail needs."""


def run(
    spec: JobSpec,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    ask: Ask | None = None,
    document: Document | None = None,
) -> Summary:
    """Carries out one run.

    Args:
        spec: what to do.
        progress: told what is going on.
        cancel: asked whether to stop.
        ask: for passphrases that no file and no variable gives; None: nobody is there.
        document: makes what ``status.json`` beside the job holds; None: it is not kept.

    Returns:
        The counts; ``Summary.exit_code`` says whether every message is done.

    Raises:
        SectoolError: what ended the run; the same run resumes once the cause is gone.
    """
    reporter = Reporter(spec, progress or NoProgress(), document)
    cancel = cancel or NeverCancelled()
    operations = {
        Operation.SCAN: _scan,
        Operation.DECRYPT: _decrypt,
        Operation.ENCRYPT: _encrypt,
        Operation.REWRAP: _rewrap,
        Operation.VERIFY: _verify,
        Operation.ROLLBACK: _rollback,
        Operation.PURGE: _purge,
    }
    if spec.keys is not None and not spec.keys.names_keys:
        _tell(exposed_secrets(spec.keys, Trust.in_group(spec.trust_group)), reporter)
    try:
        with limits_times(spec.limit_factor), stopped_by(cancel.check):
            summary = operations[spec.operation](spec, reporter, cancel, ask)
    except OSError as error:
        raise explain_unforeseen(error) from error
    except RunError:
        # Who stops all processes of a run at once stops the workers, too: not
        # their end is to be told then, but that someone asked for it.
        cancel.check()
        raise
    summary.unused_key_files = list(dict.fromkeys(reporter.unused_key_files))
    if not summary.messages:
        reporter.warn("there is no message in the mailbox", hint="is it the right one?")
    return summary


def _keys(spec: JobSpec, progress: Reporter, ask: Ask | None) -> KeyHistory | None:
    return _history(spec.keys, progress, ask)


def _needed_keys(spec: JobSpec, progress: Reporter, ask: Ask | None) -> KeyHistory:
    keys = _keys(spec, progress, ask)
    if keys is None:
        raise UsageError("no keys were given", hint="name the key history with --keys")
    return keys


def _history(
    keys: KeySpecification | None, progress: Reporter, ask: Ask | None
) -> KeyHistory | None:
    if keys is None:
        return None
    history = load_key_history(keys, ask)
    _tell(history.problems, progress)
    unused = (each for each in history.problems if each.kind is ProblemKind.MISLEADING)
    progress.unused_key_files.extend(map(_shut, unused))
    return history


def _tell(problems: Iterable[KeyProblem], progress: Progress) -> None:
    for problem in problems:
        progress.warn(f"{problem.path}: {problem.reason}", hint=problem.hint)


def _shut(problem: KeyProblem) -> ShutKeyFile:
    return ShutKeyFile(str(problem.path), problem.reason, problem.hint)


def _with_shut_key_files(summary: Summary, keys: KeyHistory | None) -> Summary:
    """Names the key files that may hold what messages miss."""
    if keys is not None and summary.missing_a_key:
        _name_shut_key_files(summary, keys)
    return summary


def _name_shut_key_files(summary: Summary, keys: KeyHistory) -> None:
    """What would end with 3 ends with 12."""
    shut = (problem for problem in keys.problems if problem.withholds_key)
    summary.shut_key_files = list(dict.fromkeys(map(_shut, shut)))
    if summary.shut_key_files and summary.failure_code in {0, 3}:
        summary.failure_code = PassphraseError.exit_code


def _seal_keys(spec: JobSpec, progress: Reporter, ask: Ask | None) -> KeyHistory | None:
    if spec.seal_keys is None:
        return None
    # A key without certificate is tried, too: what it opens is authenticated.
    history = _history(dataclasses.replace(spec.seal_keys, try_keys=True), progress, ask)
    if history is not None:
        trust = Trust.in_group(spec.trust_group)
        _tell(filter(None, (exposure(key.source, trust) for key in history.keys)), progress)
    return history


def _mailbox(stack: ExitStack, spec: JobSpec, location: str, progress: Progress) -> Mailbox:
    mailbox = stack.enter_context(open_mailbox(recognise(location)))
    stack.callback(_tell_passed_over, mailbox, progress)
    if not spec.selection.takes_any_of(mailbox.folders()):
        progress.warn(
            f"the mailbox has no folder {spec.selection.folder}",
            hint="scan --json shows the folders; their case counts",
        )
    return mailbox


def _tell_passed_over(mailbox: Mailbox, progress: Progress) -> None:
    passed_over = mailbox.passed_over
    if passed_over:
        progress.warn(
            f"{len(passed_over)} links or other files that may be mail were passed over,"
            f" such as {passed_over[0]}",
            hint="links are not followed: name what they lead to as a mailbox of its own",
        )


def _scan(spec: JobSpec, progress: Reporter, cancel: Cancel, ask: Ask | None) -> Summary:
    with ExitStack() as stack:
        mailbox = _mailbox(stack, spec, _location(spec), progress)
        keys = _keys(spec, progress, ask)
        new_keys = _history(spec.new_keys, progress, ask)
        summary = scan(spec, mailbox, keys, new_keys, progress=progress, cancel=cancel)
        return _with_shut_key_files(summary, keys)


def _decrypt(spec: JobSpec, progress: Reporter, cancel: Cancel, ask: Ask | None) -> Summary:
    acknowledged = read_acknowledgements(spec.acknowledge)
    with ExitStack() as stack:
        mailbox = _mailbox(stack, spec, _location(spec), progress)
        transport = load_transport_certificates(spec, progress, ask)
        seal_keys = _seal_keys(spec, progress, ask)
        spec = dataclasses.replace(spec, workers=workers_for(spec.workers, seal_keys))
        job = _job(stack, spec, mailbox, progress, create=True)
        check_mailbox(job, mailbox)
        job = keep_sealed(job, transport)
        if spec.in_place:
            job = open_sealed(job, seal_keys)
        stack.enter_context(acknowledging(job, acknowledged, progress))
        keys = keys_for(spec, job, _needed_keys(spec, progress, ask), progress)
        summary = decrypt(spec, job, mailbox, keys, progress=progress, cancel=cancel)
        return progress.result(_with_shut_key_files(summary, keys))


def _encrypt(spec: JobSpec, progress: Reporter, cancel: Cancel, ask: Ask | None) -> Summary:
    acknowledged = read_acknowledgements(spec.acknowledge)
    with ExitStack() as stack:
        recipients = load_certificates(spec, progress, ask)
        keys = _history(spec.verify_keys, progress, ask)
        seal_keys = _seal_keys(spec, progress, ask)
        mailbox, job = _where_it_is(stack, spec, progress)
        job = open_sealed(job, seal_keys)
        spec = dataclasses.replace(spec, workers=workers_for(spec.workers, seal_keys))
        stack.enter_context(acknowledging(job, acknowledged, progress))
        return progress.result(
            encrypt(spec, job, mailbox, recipients, new_keys=keys, progress=progress, cancel=cancel)
        )


def _rewrap(spec: JobSpec, progress: Reporter, cancel: Cancel, ask: Ask | None) -> Summary:
    check_reason(spec.reason)
    acknowledged = read_acknowledgements(spec.acknowledge)
    with ExitStack() as stack:
        recipients = load_certificates(spec, progress, ask)
        new_keys = _history(spec.verify_keys, progress, ask)
        mailbox = _mailbox(stack, spec, _location(spec), progress)
        job = _job(stack, spec, mailbox, progress, create=True)
        check_mailbox(job, mailbox)
        stack.enter_context(acknowledging(job, acknowledged, progress))
        keys = keys_for(spec, job, _needed_keys(spec, progress, ask), progress)
        summary = rewrap(
            spec,
            job,
            mailbox,
            keys,
            recipients=recipients,
            new_keys=new_keys,
            progress=progress,
            cancel=cancel,
        )
        return progress.result(_with_shut_key_files(summary, keys))


def _verify(spec: JobSpec, progress: Reporter, cancel: Cancel, ask: Ask | None) -> Summary:
    acknowledged = read_acknowledgements(spec.acknowledge)
    with ExitStack() as stack:
        keys = _history(spec.verify_keys, progress, ask)
        retired = _history(spec.retire, progress, ask)
        given_up = read_give_ups(spec.give_up, retired)
        seal_keys = _seal_keys(spec, progress, ask)
        mailbox, job = _where_it_is(stack, spec, progress)
        if seal_keys is not None:
            job = open_sealed(job, seal_keys)
            spec = dataclasses.replace(spec, workers=workers_for(spec.workers, seal_keys))
        elif retired is not None and keys is None and job.place.sealed_to:
            progress.warn(
                "the job's checkpoints are sealed, so nothing is looked for in them",
                hint="give --seal-keys, or --verify-keys",
            )
        stack.enter_context(acknowledging(job, acknowledged, progress))
        summary = verify(
            spec,
            job,
            mailbox,
            keys,
            retired,
            given_up=given_up,
            progress=progress,
            cancel=cancel,
        )
        if retired is not None:
            _name_shut_key_files(summary, retired)
        return progress.result(summary)


def _rollback(spec: JobSpec, progress: Reporter, cancel: Cancel, ask: Ask | None) -> Summary:
    with ExitStack() as stack:
        seal_keys = _seal_keys(spec, progress, ask)
        mailbox, job = _where_it_is(stack, spec, progress)
        if spec.to_stage == "decrypted":
            job = open_sealed(job, seal_keys)
            spec = dataclasses.replace(spec, workers=workers_for(spec.workers, seal_keys))
        return progress.result(rollback(spec, job, mailbox, progress=progress, cancel=cancel))


def _purge(spec: JobSpec, progress: Reporter, cancel: Cancel, ask: Ask | None) -> Summary:
    with ExitStack() as stack:
        keys = _history(spec.verify_keys, progress, ask)
        mailbox, job = _where_it_is(stack, spec, progress)
        return progress.result(purge(spec, job, mailbox, keys, progress=progress, cancel=cancel))


def _where_it_is(stack: ExitStack, spec: JobSpec, progress: Reporter) -> tuple[Mailbox, Job]:
    """The mailbox that was named, else where the job's mailbox was last; and the job."""
    location = spec.mailbox or _mailbox_of(spec)
    mailbox = _mailbox(stack, spec, location, progress)
    return mailbox, _job(stack, spec, mailbox, progress, create=spec.include_clear)


def _job(
    stack: ExitStack, spec: JobSpec, mailbox: Mailbox, progress: Reporter, *, create: bool
) -> Job:
    trust = Trust.in_group(spec.trust_group)
    if spec.dry_run:
        rehearsal = stack.enter_context(rehearse_job(spec.job, trust))
        check_way(rehearsal.log, spec.operation)
        return rehearsal
    directory = _directory(spec)
    check_apart(directory, mailbox)
    job = stack.enter_context(open_job(directory, create=create, trust=trust))
    check_way(job.log, spec.operation)
    with explained(f"lock the mailbox {mailbox.specification.location}"):
        stack.enter_context(mailbox.lock())
    begin_generation(job)
    if spec.operation in _ACT_ON_MAIL:
        with job.log.group():
            job.log.give_ups.forget_answers()
    stack.enter_context(progress.beside(job))
    finish_purge(job)
    return job


def _mailbox_of(spec: JobSpec) -> str:
    directory = _directory(spec)
    with look_at_job(directory, Trust.in_group(spec.trust_group)) as job:
        if job.mailbox is None:
            raise UsageError(
                f"the job {directory} has no mailbox yet", hint="run `sectool decrypt` on it first"
            )
        return job.mailbox


def _location(spec: JobSpec) -> str:
    if spec.mailbox is None:
        raise UsageError("no mailbox was given", hint="name it, as a path or a URL")
    return spec.mailbox


def _directory(spec: JobSpec) -> Path:
    if spec.job is None:
        raise UsageError("no job directory was given", hint="name it with --job")
    return spec.job


__all__ = [
    "Ask",
    "Cancel",
    "JobSpec",
    "NeverCancelled",
    "Operation",
    "Reason",
    "Selection",
    "Trust",
    "default_workers",
    "is_job",
    "make_directory",
    "run",
    "status",
]
