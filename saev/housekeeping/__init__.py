"""What the `saev` command does beside checking: looks at results, compares them, removes what is left."""
