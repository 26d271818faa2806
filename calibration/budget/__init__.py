"""An accuracy budget held: nodes go back to floating point, most sensitive first, until it holds."""
