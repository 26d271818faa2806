"""What quantisation did, as data: of our graphs, and of files that other tools wrote."""
