"""Grounding: a screenshot and an instruction -> a click; a model of several graphs, its weights streamed."""
