"""What is done to one message, in any process, and the pool that does it."""
