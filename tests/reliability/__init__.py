"""Reliability trials: faults are caused on purpose, and each promise is measured next to a control."""
