"""Arguments and options that are paths."""

from __future__ import annotations

from functools import partial

import typer

# Whether a path can be read is told by who opens it: asked beforehand the system answers for the
# real user, without the capabilities that count when it is opened.
path_option = partial(typer.Option, readable=False)
path_argument = partial(typer.Argument, readable=False)
