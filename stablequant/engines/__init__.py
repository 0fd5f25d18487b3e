"""Engines: one module for each backend, all built from the same QDQ ONNX graphs."""
