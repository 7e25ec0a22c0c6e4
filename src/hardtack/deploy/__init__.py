"""Deployment files, what a box needs of the network, and the proof that it needs none."""
