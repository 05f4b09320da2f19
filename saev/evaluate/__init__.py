"""The `evaluate` stage: what a dictionary is worth, beside baselines."""
