"""What several test rooms share; imports nothing of sectool but where a name says so."""
