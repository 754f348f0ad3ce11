"""Inference with exported artifacts on ONNX Runtime, offline and over HTTP, without PyTorch."""

import os

# ONNX Runtime sends telemetry unless this variable is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
