"""The pages: one for each run, and the gallery of all runs."""
