"""What the workflow needs around its work: config, code digests, logs, estimates, provenance."""
