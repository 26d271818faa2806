"""``edgesmith serve``: bundles behind HTTP, for programs (the Open Inference Protocol) and for people (a page)."""
