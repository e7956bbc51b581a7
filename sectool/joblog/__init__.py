"""The durable record of every step on every message; the only user of SQLite.

Holds no subjects, no addresses, no key material and no plaintext.
"""

from sectool.joblog.acknowledgements import Acknowledgement
from sectool.joblog.give_ups import Standing
from sectool.joblog.layers import NOT_EVERYBODYS
from sectool.joblog.log import JobLog
from sectool.joblog.messages import KEPT, REPLACED
from sectool.joblog.records import (
    IN_CLEAR,
    ON_TRIAL,
    PASSED_OVER,
    UNREACHED,
    UNREAD,
    CheckpointRecord,
    Examination,
    Finished,
    LayerRecord,
    MessageRecord,
    OriginalRecord,
    PartRecord,
    Purpose,
    Removal,
    ReplacedMessage,
    ReplacementRecord,
    SealableMessage,
    SealablePart,
    Storage,
)
from sectool.joblog.schema import OLDER_SCHEMAS
from sectool.joblog.standings import MessagesAlike
from sectool.outcome import blotted

__all__ = [
    "IN_CLEAR",
    "KEPT",
    "NOT_EVERYBODYS",
    "OLDER_SCHEMAS",
    "ON_TRIAL",
    "PASSED_OVER",
    "REPLACED",
    "UNREACHED",
    "UNREAD",
    "Acknowledgement",
    "CheckpointRecord",
    "Examination",
    "Finished",
    "JobLog",
    "LayerRecord",
    "MessageRecord",
    "MessagesAlike",
    "OriginalRecord",
    "PartRecord",
    "Purpose",
    "Removal",
    "ReplacedMessage",
    "ReplacementRecord",
    "SealableMessage",
    "SealablePart",
    "Standing",
    "Storage",
    "blotted",
]
