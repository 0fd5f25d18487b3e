"""Engines: one module per backend, all built from the same QDQ ONNX graph."""
