"""Words shared by all rooms: errors, units, progress, back-off."""
