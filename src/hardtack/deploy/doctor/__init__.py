"""What is wrong with this machine for what hardtack does on it, and the remedy for each."""
