"""Classifiers in an export: the defaults of a task, and accuracy on labelled pictures."""
