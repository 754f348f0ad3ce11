"""ONNX export: tracing, parity checks, rewriting for the CPU and quantisation."""
