"""The parts of the script that made the sample mailbox."""
