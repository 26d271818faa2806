"""What flows through the graph: collected over pictures, kept as histograms and moments, cached."""
