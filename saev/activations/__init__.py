"""Stage `activations`: run a tower over the images and store its activations."""
