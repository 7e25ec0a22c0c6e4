"""What deployment files say: YAML with positions, Helm, compose, Dockerfile, image references."""
