"""Stage `analyze`: what each latent of a dictionary sees in the images."""
