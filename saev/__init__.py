"""saev: an explorable dictionary of what a vision transformer sees in your images."""
