"""The edge endpoint: HTTP API, detectors' life, escalation, backends."""
