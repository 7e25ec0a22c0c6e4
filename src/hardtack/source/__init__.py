"""Objects from elsewhere: S3, files, memory, and one that fails on a script."""
