"""What programs import: `load`, `open_run`, `Explorer`."""
