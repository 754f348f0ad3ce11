"""Artifacts: export of runs, import of weights, verification, evaluation and the model card."""
