"""From which files the rows of a pod's tables come, also through views.

Two tables of one file, or a table and a view of it, hold the same people. Rule to keep: what is not known of a view
counts as read from everything.
"""

import os

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from podsql.pod.config import PodConfig, qualified


def origins(config: PodConfig) -> dict[str, tuple[str, ...]]:
    """By full name of a table or view, the paths of its files, as ``pod.toml`` has them."""
    found = {
        qualified(name).lower(): frozenset({os.path.normpath(section.path)})
        for name, section in config.tables.items()
    }
    everything = frozenset[str]().union(*found.values())
    views = {qualified(name).lower(): _read(section.sql) for name, section in config.views.items()}
    for _ in views:  # a view may be of another one
        for name, read in views.items():
            known = [found[one] for one in read or () if one in found]
            waits = any(one in views and one not in found for one in read or ())
            if not waits:
                found[name] = frozenset[str]().union(*known) if known else everything
    named = (*config.tables, *config.views)
    return {
        qualified(name): tuple(sorted(found.get(qualified(name).lower(), everything)))
        for name in named
    }


def _read(sql: str) -> frozenset[str] | None:
    """Full names in lower case of what a SELECT reads; None: it cannot be told."""
    try:
        trees = sqlglot.parse(sql, dialect="duckdb")
    except SqlglotError:
        return None
    tables = [table for tree in trees if tree is not None for table in tree.find_all(exp.Table)]
    return frozenset(f"{table.db or 'main'}.{table.name}".lower() for table in tables)
