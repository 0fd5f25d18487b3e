"""One recogniser from a command: its config, its run, what it will take, and what came of it."""
