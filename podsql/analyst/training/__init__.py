"""Training at the analyst: rounds asked of the pods, models kept, what they predict."""
