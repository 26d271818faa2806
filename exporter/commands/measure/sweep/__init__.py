"""``edgesmith sweep``: models x targets x precisions, each cell exported and measured in a process of its own, one table."""
