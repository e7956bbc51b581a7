"""What holds for every test."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# The machine's speed is no property of the code. A build must not depend on luck
# either: there the examples are the same each time, and a person's runs look for new ones.
settings.register_profile(
    "sectool",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("sectool")

# A shell starts what runs in its background deaf to interrupts, and every process that a
# test starts and interrupts would inherit that. What is handled is not inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
