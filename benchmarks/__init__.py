"""Measurements of podsql beside a reference, in one run. ``make bench``."""
