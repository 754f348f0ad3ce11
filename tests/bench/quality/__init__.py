"""Quality of our entries and of public training scripts at an equal cost in CPU seconds."""
