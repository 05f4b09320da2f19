"""The demo: gets real weights and images from packages, for a first look without the hub."""
