"""Pictures and videos -> tensors: read, resized, placed, and written again."""
