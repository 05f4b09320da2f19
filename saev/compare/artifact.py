"""Names of the files of a comparison, in `results/{images}/{vit}/{sae}/references/{reference}`."""

STAGE = "compare"
VERDICT = "verdict.json"
PLOT = "comparison.png"
