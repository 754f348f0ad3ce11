"""ONNX files as protobuf messages; ONNX's own package is not needed to serve."""
