"""From what --weights names to tensors whose shapes are known and whose values are not read yet, whatever kind of file it is."""
