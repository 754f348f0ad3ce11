"""What must not break, broken on purpose: every promise with its figure, and a control that breaks."""
