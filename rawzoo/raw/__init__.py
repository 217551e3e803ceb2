"""Raw files: reading, writing, colour filter arrays, colour, noise."""
