"""The commands: the only place that prints, exits, or configures logging."""
