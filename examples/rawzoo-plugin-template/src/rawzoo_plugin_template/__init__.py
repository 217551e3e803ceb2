"""A rawzoo plugin to copy."""
