"""Grounding: a screenshot and an instruction in words -> the point to click."""
