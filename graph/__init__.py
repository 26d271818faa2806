"""The one graph toolkit, on the ground: ask a graph, edit it, run it, its float types. Every chapter may use it."""
