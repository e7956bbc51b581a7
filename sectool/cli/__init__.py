"""The command line: parses, builds a specification, calls a job, renders the answer.

The only room that knows typer, tqdm and words for a person. Heavy imports
stand inside the functions that need them, so that ``--help`` is quick.
"""

from __future__ import annotations


def main() -> None:
    """Entry point of the ``sectool`` console script; ends the process with the contract's code."""
    try:
        from sectool.cli.shell import run_app

        code = run_app()
    except KeyboardInterrupt:
        # While the imports above ran, or after the answer: nothing was under way.
        code = 130
    raise SystemExit(code)
