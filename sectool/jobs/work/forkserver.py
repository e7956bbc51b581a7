"""Imported by the process that workers are forked from, and by nobody else: deaf, and hardened.

Where that process is killed, ``multiprocessing`` starts another one by itself,
which hears interrupts as any process does.
"""

from __future__ import annotations

from sectool.hardening import harden, ignore_interrupts

ignore_interrupts()
harden()
