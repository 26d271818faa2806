"""Typed graph -> engine: lowered to what the parser reads, built in a child process, looked into without a GPU."""
