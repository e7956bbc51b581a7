"""What opened is held against what mail looks like before it is accepted."""
