"""Which stage changed a result: runs stages with the code of two revisions, and compares."""
