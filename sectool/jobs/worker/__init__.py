"""What is done to one message: in any process, and nothing that lasts."""
