"""What a user gets: artifacts loaded by ONNX Runtime and served over HTTP, without torch."""
