"""The search: the degradation of each layer, the cut-off percentiles, and the scales."""
