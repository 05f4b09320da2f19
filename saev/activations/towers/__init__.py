"""Vision transformers: the contract (`backbone`), a file per library, the choice (`kinds`)."""
