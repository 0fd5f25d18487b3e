"""The arithmetic of INT8: ranges, histograms, simulation, weights."""
