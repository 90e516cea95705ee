"""Sessions of graphs that tests make."""

from __future__ import annotations

import onnx
import onnxruntime


def exact_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """One whose 8-bit sums do not saturate on any processor, as in the service."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
