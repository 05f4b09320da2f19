"""The `saev` command, for looking after results."""
