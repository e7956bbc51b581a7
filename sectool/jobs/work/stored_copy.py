"""The stored copy of a message that a job knows."""

from __future__ import annotations

from sectool import smime
from sectool.errors import MessageChanged
from sectool.joblog import IN_CLEAR, JobMessage
from sectool.mailbox import Mailbox
from sectool.message import StoredMessage
from sectool.outcome import Identity


def known_as(inventory: smime.Inventory) -> tuple[Identity, Identity]:
    """What a message is known by as it lies there, and as a plaintext copy of a job."""
    copy = inventory.as_copy
    return inventory.identity, Identity("" if copy is None else f"{IN_CLEAR}{copy}")


def fetch_known(mailbox: Mailbox, message: JobMessage) -> tuple[StoredMessage, smime.Inventory]:
    """The stored copy of a message of the job, and what is in it.

    Raises:
        MessageChanged: it is another one.
        MessageError: it cannot be read.
    """
    stored = mailbox.fetch(message.ref)
    inventory = smime.take_inventory(stored.content)
    if message.identity not in known_as(inventory):
        raise MessageChanged("the message is not the one the job knows")
    return stored, inventory
