"""``edgesmith quant-report``: what quantisation cost, node by node."""
