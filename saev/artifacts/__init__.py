"""What lies under `results/`: names of files, how they are written and read, a module a stage."""
