"""The sample mailbox and the story told with it."""
