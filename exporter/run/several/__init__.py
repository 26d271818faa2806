"""Work on several processes and machines: a Ray cluster, and the pictures of an evaluation shared out to it."""
