"""Parts of the workflow beside the work itself: config, code digests, logs, resource estimates, provenance."""
