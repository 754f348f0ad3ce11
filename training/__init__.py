"""What a lab does: data, the loop, checkpoints, records and the export of artifacts."""
