"""Rules over manifests, and their reports."""
