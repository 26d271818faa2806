"""``edgesmith eval``: the figures, the rows that are kept and the page for people."""
