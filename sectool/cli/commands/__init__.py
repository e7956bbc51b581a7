"""One module a command, of its name: options become a specification, a run its words."""
