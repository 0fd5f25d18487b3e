"""Files on disk: whole or absent, arrays one at a time, ONNX graphs."""
