"""INT8 quantization: histograms, ranges, simulation and weights."""
