"""What stands around a run: its words, the arrays of those without pictures, answers made ahead, start and health."""
