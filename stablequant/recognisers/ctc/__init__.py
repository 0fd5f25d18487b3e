"""Shared code of CTC recognisers: vocabulary, best-path decoding, words with their times, ONNX export."""
