"""What is encrypted in a message, by the walk through its entities and by the net under it."""
