"""What the rules import: the table of stages, the plan, digests of code. Doesn't import PyTorch."""
