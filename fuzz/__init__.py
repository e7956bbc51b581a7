"""What hostile bytes may do to the readers, and what finds out; nothing here is installed."""
