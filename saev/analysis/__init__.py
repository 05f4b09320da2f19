"""Looking at a dictionary through images: one streaming pass in parts, merged in row order."""
