"""Stage `train`: recorded activations to a sparse autoencoder."""
