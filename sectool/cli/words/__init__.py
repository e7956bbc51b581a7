"""What a summary is in words, in tables and in JSON: verdicts, next steps, what is left."""
