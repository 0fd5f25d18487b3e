"""StableQuant: layer-adaptive post-training INT8 quantization of CTC speech models."""
