"""The REST translation service: ONNX Runtime behind FastAPI, without torch."""

import os

__version__ = "0.1.0"

# onnxruntime reports usage home by default and reads this only while it is imported; nothing leaves the machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
