"""Bad inputs as data: how each is made, and what must become of it."""
