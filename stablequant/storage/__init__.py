"""Files on disk: safe writing, locks, tables, JSON, arrays and ONNX graphs."""
