"""What every request passes before its route: errors, deadlines, API keys, the access log."""
