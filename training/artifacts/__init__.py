"""From a run to an artifact: export, verification, scores and the model card."""
