"""Graphs with any inputs and outputs: their plan, their judge, and their flow on one screen."""
