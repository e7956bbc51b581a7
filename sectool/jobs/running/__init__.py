"""What every run stands on: what it was asked, the job directory, the pool, the replacing."""
