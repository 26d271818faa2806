"""Checkpoints that are a folder of several files: config.json, tensors in shards, tokenizer.json. Tensors are read one at a time."""
