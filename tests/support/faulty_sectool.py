"""``sectool`` with a fault: ``python tests/support/faulty_sectool.py FAULT WORD...``."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])

    from sectool.cli import main
    from sectool.crashpoints import install
    from tests.support.crash import hook_of

    install(hook_of(sys.argv[1]))
    sys.argv[:2] = ["sectool"]
    main()
