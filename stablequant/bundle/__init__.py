"""The result to take away: one folder, its card, and the command line that uses it."""
