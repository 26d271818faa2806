"""Commands that look: what is in a bundle, a file or an engine, and how two of them differ."""
