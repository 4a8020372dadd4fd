"""Data sources of a pod: one file a kind of source, found by name, suffix or entry point."""
