"""What a check of the box tells."""

from __future__ import annotations

Amiss = tuple[str, str]
"""What is wrong, and what helps."""
PREPARE = "Mend it: hardtack box prepare."
