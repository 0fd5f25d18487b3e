"""Tables, plots and captions for people."""
