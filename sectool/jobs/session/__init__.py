"""What a run stands on: its specification, the job directory, what is fixed in it."""
