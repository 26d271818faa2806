"""The command line: what was typed -> a call, and its result on the screen."""
