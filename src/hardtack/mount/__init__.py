"""A cache shown as files: FUSE wire format, session, keeper, file system."""
