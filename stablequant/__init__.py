"""StableQuant: layer-adaptive post-training INT8 quantization of speech recognisers."""
