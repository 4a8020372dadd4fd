"""Models that are fitted exactly: what is asked of the pods in each round, and what comes of it."""
