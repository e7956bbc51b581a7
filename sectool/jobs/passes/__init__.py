"""What each pass over the messages of a job does: taking in, matching, replacing, proving."""
