"""Statements that train and use models: their grammar, their rounds as SQL, their plans."""
