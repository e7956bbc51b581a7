"""The durable record of every step on every message; the only user of SQLite.

Holds no subjects, no addresses, no key material and no plaintext.
"""

from sectool.joblog.counts import MessagesAlike
from sectool.joblog.decisions import Acknowledgement, Standing
from sectool.joblog.layers import NOT_EVERYBODYS
from sectool.joblog.log import JobLog
from sectool.joblog.messages import KEPT, REPLACED
from sectool.joblog.records import (
    IN_CLEAR,
    NOT_KNOWN,
    ON_TRIAL,
    PASSED_OVER,
    UNREACHED,
    UNREAD,
    CheckpointRecord,
    Examination,
    JobMessage,
    LayerRecord,
    MessageRecord,
    PartRecord,
    Purpose,
    Removal,
    ReplacementRecord,
    SealablePart,
    Storage,
    StoredCopy,
)
from sectool.joblog.schema import MIGRATED_VERSIONS
from sectool.outcome import blotted

__all__ = [
    "IN_CLEAR",
    "KEPT",
    "MIGRATED_VERSIONS",
    "NOT_EVERYBODYS",
    "NOT_KNOWN",
    "ON_TRIAL",
    "PASSED_OVER",
    "REPLACED",
    "UNREACHED",
    "UNREAD",
    "Acknowledgement",
    "CheckpointRecord",
    "Examination",
    "JobLog",
    "JobMessage",
    "LayerRecord",
    "MessageRecord",
    "MessagesAlike",
    "PartRecord",
    "Purpose",
    "Removal",
    "ReplacementRecord",
    "SealablePart",
    "Standing",
    "Storage",
    "StoredCopy",
    "blotted",
]
