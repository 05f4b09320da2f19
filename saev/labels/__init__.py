"""Stage `labels`: read the labels of images, once for all analyses that share them."""
