"""What a device does around a session: start by a ladder, say how it fares, look at the board, measure on it."""
