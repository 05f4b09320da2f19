"""Settings: one frozen class for each component of `config.yaml`, a file for each stage."""
