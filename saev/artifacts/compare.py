"""Names in the directory of a comparison, `results/{images}/{vit}/{sae}/references/{reference}`."""

VERDICT = "verdict.json"
FIGURE = "comparison.png"
