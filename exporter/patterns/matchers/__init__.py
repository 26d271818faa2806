"""What the rewrites recognise: heads, layers, views, projections, attention."""
