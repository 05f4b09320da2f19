"""Stage `images`: list the images of a source and give each its row."""
