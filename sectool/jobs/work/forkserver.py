"""Imported by the process that workers are forked from, and by nobody else: deaf, and hardened.

Where that process is killed, ``multiprocessing`` starts another one by itself,
which hears interrupts as any process does.
"""

from __future__ import annotations

import signal

from sectool.hardening import harden

signal.signal(signal.SIGINT, signal.SIG_IGN)
harden()
