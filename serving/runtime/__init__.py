"""Loaded artifacts: manifest, ONNX Runtime sessions, and pipelines from arrays to arrays."""
