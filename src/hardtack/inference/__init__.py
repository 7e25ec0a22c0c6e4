"""Model packages, runtimes, and the inference server of one detector."""
