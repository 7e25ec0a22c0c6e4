"""Rendering of deployment files, network requirements, doctor, readiness."""
