"""What a user gets: artifacts loaded by ONNX Runtime and served over HTTP, without torch."""

import os

# ONNX Runtime reports to its makers unless it is told not to before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
