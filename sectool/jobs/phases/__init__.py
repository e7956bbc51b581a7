"""What the commands are made of: one pass over a mailbox or a job each."""
