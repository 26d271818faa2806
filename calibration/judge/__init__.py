"""How near two graphs answer: figures on the answers of classifiers and detectors, and the sensitivity of nodes."""
