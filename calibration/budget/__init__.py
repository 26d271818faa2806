"""An accuracy budget, or a floor of the outputs, held: nodes go back to floating point, most sensitive first, until it holds."""
