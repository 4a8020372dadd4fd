"""Bring a statement into the form the later rules read: joins in place of nested queries.

Innermost first, so that what an inner query became can be written into the one around it.
"""

from sqlglot import exp

from podsql.planner.catalog import Catalog
from podsql.planner.rules.find_queries import arms_of, sources_of, subqueries_of
from podsql.planner.rules.flatten_derived import flatten_derived
from podsql.planner.rules.total_over_groups import total_over_groups
from podsql.planner.rules.unnest_subqueries import unnest_subqueries


def write_as_joins(tree: exp.Expression, catalog: Catalog, *, meets: bool) -> bool:
    """Rewrite ``tree`` in place.

    ``meets``: also so that public tables meet which a policy could keep apart. True if some do.
    """
    met = False
    for select in arms_of(tree):
        total_over_groups(select, catalog)
        for holder in sources_of(select):
            if isinstance(holder.this, exp.Subquery):
                met |= write_as_joins(holder.this.this, catalog, meets=meets)
        for query in subqueries_of(select):
            met |= write_as_joins(query, catalog, meets=meets)
        flatten_derived(select, catalog)
        met |= unnest_subqueries(select, catalog, meets=meets)
    return met
