"""Inference servers in a Kubernetes cluster, and the thin client that the small jobs use too."""
