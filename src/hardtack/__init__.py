"""hardtack keeps what an edge box needs to run its models on the box, and proves it."""

__version__ = "0.1.0"
