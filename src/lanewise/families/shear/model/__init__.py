"""The density of one galaxy image, and the renderer behind it."""
