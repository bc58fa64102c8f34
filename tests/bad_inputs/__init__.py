"""Bad input to every command: it ends with the right result, or with one line and nothing half-written."""
