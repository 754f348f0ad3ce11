"""From torch to ONNX: traced, proven equal, rewritten for the CPU, quantised."""
