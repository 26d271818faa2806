"""One run of the pipeline: its nouns, stages, arguments, pictures, and the runners of its graphs."""
