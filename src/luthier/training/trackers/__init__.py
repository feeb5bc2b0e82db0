"""Trackers: adapters that pass a run's points on to TensorBoard, Weights & Biases and MLflow.

None of them is imported before a project asks for it, and none reports about the user: telemetry is switched off where
the library has a switch. `metrics.jsonl` is always written, whatever a tracker does.
"""
