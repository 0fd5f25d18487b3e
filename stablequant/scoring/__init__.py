"""Word errors, how far posteriors diverge, and how sure a difference is."""
