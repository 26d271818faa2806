"""The one graph toolkit, on the ground: edit a graph, run it, its float types. Every chapter above may use it."""
