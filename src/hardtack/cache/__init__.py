"""What the box knows of a source and holds of it: catalogue, content, downloads, repair."""
