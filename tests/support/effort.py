"""How much work something is, whatever the machine, its load and the tools that watch it.

Seconds are no property of the code. What is compared is processor time with that of a
fixed piece of work of the same kind, done by the same process.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import cache, partial

from sectool import cms
from sectool.message import BytesContent
from tests.support.forge import Forge, make_person

STRANGERS = 1_000
"""Recipients of the envelope whose reading is one unit of work. None is read twice, since who is
met again is remembered."""


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds that this process takes for ``work``."""
    start = time.process_time()
    work()
    return time.process_time() - start


@cache
def _unit(*, is_traced: bool) -> float:  # what watches the code makes both dearer
    forge = Forge(make_person("reader of the unit"))
    issuer = make_person("one of a thousand").recipient.identifier.issuer
    readings = []
    for first in range(1, 5 * STRANGERS, STRANGERS):
        strangers = [
            forge.recipient(
                identifier=cms.IssuerAndSerialNumber(issuer, serial), encrypted_key=bytes(256)
            )
            for serial in range(first, first + STRANGERS)
        ]
        source = BytesContent(forge.cbc(recipients=strangers))
        readings.append(seconds(partial(cms.describe_envelope, source)))
    return statistics.median(readings)


def effort(work: Callable[[], object]) -> float:
    """What ``work`` takes, in readings of an envelope to a thousand people."""
    unit = _unit(is_traced=sys.gettrace() is not None)
    return seconds(work) / unit
