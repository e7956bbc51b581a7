"""Imported by the process that workers are forked from, and by nobody else: makes it mute and deaf.

Where that process is killed, ``multiprocessing`` starts another one by itself,
which inherits an ordinary standard error; its last words could hold plaintext.
"""

from __future__ import annotations

import os
import signal

_nowhere = os.open(os.devnull, os.O_WRONLY)
os.dup2(_nowhere, 2)
os.close(_nowhere)
signal.signal(signal.SIGINT, signal.SIG_IGN)
