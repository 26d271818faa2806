"""rewritten graph + images -> quantised graph. The flow on one screen: quantise.py."""
