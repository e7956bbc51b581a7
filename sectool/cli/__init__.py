"""The command line: parses, builds a specification, calls a job, renders the answer.

The only room that knows typer, tqdm and words for a person. Heavy imports
stand inside the functions that need them, so that ``--help`` is quick.
"""

from __future__ import annotations

import sys
import warnings


def main() -> None:
    """Entry point of the ``sectool`` console script; ends the process with the contract's code."""
    if not sys.warnoptions:
        # What libraries think of old certificates and ciphers is nothing to bother a person with.
        warnings.simplefilter("ignore")
    try:
        from sectool.cli.app import run_app

        code = run_app()
    except KeyboardInterrupt:
        # While the imports above ran, or after the answer: nothing was under way.
        code = 130
    except OSError as error:
        # The shell tells all others: this one kept it from being loaded.
        sys.stderr.write(f"sectool: error: cannot load sectool: {error.strerror or error}\n")
        sys.stderr.write("sectool: hint: see to the cause, then run it again\n")
        code = 1
    raise SystemExit(code)
