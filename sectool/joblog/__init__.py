"""The durable record of every step on every message; the only user of SQLite.

Holds no subjects, no addresses, no key material and no plaintext.
"""

from sectool.joblog.counts import (
    FormerPlaintext as FormerPlaintext,
    MessagesAlike as MessagesAlike,
    UnfinishedMessage as UnfinishedMessage,
)
from sectool.joblog.decisions import Acknowledgement as Acknowledgement, Standing as Standing
from sectool.joblog.layers import NOT_EVERYBODYS as NOT_EVERYBODYS
from sectool.joblog.log import JobLog as JobLog
from sectool.joblog.messages import KEPT as KEPT, REPLACED as REPLACED
from sectool.joblog.records import (
    IN_CLEAR as IN_CLEAR,
    NOT_KNOWN as NOT_KNOWN,
    ON_TRIAL as ON_TRIAL,
    PASSED_OVER as PASSED_OVER,
    UNREACHED as UNREACHED,
    UNREAD as UNREAD,
    CheckpointRecord as CheckpointRecord,
    Examination as Examination,
    JobMessage as JobMessage,
    LayerRecord as LayerRecord,
    MessageRecord as MessageRecord,
    PartRecord as PartRecord,
    Purpose as Purpose,
    Removal as Removal,
    ReplacementRecord as ReplacementRecord,
    SealablePart as SealablePart,
    Storage as Storage,
    StoredCopy as StoredCopy,
)
from sectool.joblog.schema import MIGRATED_VERSIONS as MIGRATED_VERSIONS
from sectool.outcome import blotted as blotted
