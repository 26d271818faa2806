"""The page of ``edgesmith eval --report``: curves, matrices and pictures of an evaluation."""
