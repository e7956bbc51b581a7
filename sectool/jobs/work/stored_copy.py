"""The stored copy of a message that a job knows."""

from __future__ import annotations

from sectool import smime
from sectool.errors import MessageChanged
from sectool.joblog import IN_CLEAR, ReplacedMessage, SealableMessage
from sectool.mailbox import Mailbox
from sectool.message import StoredMessage


def known_as(inventory: smime.Inventory) -> tuple[str, str, str]:
    """What a message is known by as it lies there, and as a plaintext copy of a job.

    The last one is what jobs of an older version know such a copy by.
    """
    copy = inventory.as_copy
    if copy is None:
        return inventory.identity, "", ""
    return inventory.identity, f"{IN_CLEAR}{copy}", f"{IN_CLEAR}{copy.content}"


def fetch_known(
    mailbox: Mailbox, message: SealableMessage | ReplacedMessage
) -> tuple[StoredMessage, smime.Inventory]:
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
