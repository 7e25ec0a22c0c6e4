"""Makes a box such that it comes up alone: one file for each step, each idempotent."""
