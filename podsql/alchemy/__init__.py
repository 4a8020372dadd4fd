"""SQLAlchemy 2 over a federation: ``create_engine("podsql:///path/to/federation.toml")``.

Rule to keep: only this package imports sqlalchemy, and nothing imports this package but SQLAlchemy's
own registry.
"""
