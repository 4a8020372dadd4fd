"""Planning rules: one a file, each a verb phrase over (tree, catalog)."""
