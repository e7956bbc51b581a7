"""Named points at which a test can stop the process dead.

Every call that changes a disk or a mailbox stands beside a point, so that the
states between any two of them can be visited. What happens at a point is code
that this very process installed: nothing from outside, such as a variable of the
environment, reaches it, and worker processes start without. Where nothing is
installed, which is always outside a test and the demo's crash, a point does nothing.
"""

from __future__ import annotations

from collections.abc import Callable

Hook = Callable[[str], None]
"""Takes the name of a point that is passed (``room.act.when``)."""

_hooks: list[Hook] = []


def install(hook: Hook | None) -> Hook | None:
    """Lets this process, and what is forked from it, call ``hook`` at every point.

    Args:
        hook: in the place of the one before; None: nothing happens at points any more.

    Returns:
        The one before.
    """
    before = _hooks[0] if _hooks else None
    _hooks[:] = [] if hook is None else [hook]
    return before


def crashpoint(name: str) -> None:
    """Passes the point ``name`` (``room.act.when``, such as ``joblog.commit.before``)."""
    for hook in _hooks:
        hook(name)
