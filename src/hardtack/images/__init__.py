"""Container images: registry client, lock, bundle, installing, auditing."""
