"""What a rollback closes, and how ``decrypt`` opens it again.

After a rollback the mail stands as before the move, so a plain ``encrypt``
would undo it without anybody having meant to. A complete ``decrypt`` says that
the move is wanted after all; where the checkpoint of a message still lies in
the job directory, nothing is decrypted anew for it.
"""

from __future__ import annotations

from sectool.errors import UsageError
from sectool.joblog import JobLog, Purpose, SealablePart
from sectool.jobs.session.job import Job
from sectool.jobs.session.spec import Operation
from sectool.outcome import State


def check_not_rolled_back(log: JobLog) -> None:
    """Holds that the job was not rolled back, or was decrypted again since.

    Raises:
        UsageError: it was not.
    """
    if log.phase(Operation.ROLLBACK) is not None:
        hint = "to begin again, run `sectool decrypt` on it with the old keys first"
        if log.phase(Operation.DECRYPT) is None:
            hint = "to begin again, take another --job directory"
        raise UsageError("this job was rolled back", hint=hint)


def reopen(job: Job) -> None:
    """Takes back the messages of a rollback whose checkpoints are there.

    Raises:
        UsageError: the rollback was interrupted, so that a message may have two copies.
    """
    if any(record.purpose is Purpose.ROLLBACK for record in job.log.replacements.open()):
        raise UsageError(
            "a rollback was interrupted on this job",
            hint="run the same `sectool rollback` again first",
        )
    with job.log.group():
        for message in job.log.replaced.rolled_back_with_checkpoints():
            if message.parts and all(_is_whole(job, part) for part in message.parts):
                job.log.messages.advance(message.message, State.CHECKPOINTED, step="taken back")


def _is_whole(job: Job, part: SealablePart) -> bool:
    """Whether the file is as long as it was; its bytes are compared when it is encrypted."""
    known = part.checkpoint
    return job.checkpoints.may_hold(known.content_digest, known.inner_size)


def close_reopening(log: JobLog) -> None:
    """Decrypting came to its end: ``encrypt`` may run; inside a group.

    Where nothing is left of the encryption that was rolled back, the next one
    may choose its recipients anew.
    """
    if log.phase(Operation.ROLLBACK) is None:
        return
    log.drop_phase(Operation.ROLLBACK)
    if not log.replaced.any_left():
        log.drop_phase(Operation.ENCRYPT)
