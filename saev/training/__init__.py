"""Parts of the `train` stage: data, initial values, steps, state, curves."""
