"""COCO-style sets: annotations read, average precision and its interval."""
