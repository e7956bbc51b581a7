"""The engine: what the commands do, from a frozen specification to a summary."""

from sectool.joblog import (
    FormerPlaintext as FormerPlaintext,
    UnfinishedMessage as UnfinishedMessage,
)
from sectool.jobs.operations.status import (
    Inspection as Inspection,
    inspect as inspect,
    status as status,
)
from sectool.jobs.run import run as run
from sectool.jobs.session.job import is_job as is_job, make_directory as make_directory
from sectool.jobs.session.processors import default_workers as default_workers
from sectool.jobs.session.spec import (
    Decrypt as Decrypt,
    Encrypt as Encrypt,
    Purge as Purge,
    QuickScan as QuickScan,
    Reason as Reason,
    Rewrap as Rewrap,
    Rollback as Rollback,
    Run as Run,
    Scan as Scan,
    Selection as Selection,
    Specification as Specification,
    Undone as Undone,
    Verify as Verify,
)
from sectool.trust import Trust as Trust
