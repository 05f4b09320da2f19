"""saev under fire: a seeded loop that strikes the tiny project, runs the same command again, and
says what came of it. `python -m tests.faults --help` runs many strikes, `pytest tests/faults` few.
"""
