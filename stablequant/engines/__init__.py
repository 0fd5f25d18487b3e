"""Engines: one module for each backend. All engines are built from the same QDQ ONNX graphs."""
