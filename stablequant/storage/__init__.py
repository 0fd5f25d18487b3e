"""Files on disk: safe writing, tables, JSON, arrays and ONNX graphs."""
