"""The DuckDB settings that must be equal wherever a statement or a part of it runs.

Plain data: pods' workers, the merge at the analyst, the binder and the tests' oracles all run
these statements first. Rule to keep: a setting that can change a *result* stands here; settings
that only guard or size a process stand with that process.
"""

from typing import Final

PINNED_SETTINGS: Final[tuple[str, ...]] = (
    "SET TimeZone = 'UTC'",
    "SET Calendar = 'gregorian'",
    "SET default_collation = ''",
    "SET default_null_order = 'NULLS_LAST'",
    "SET default_order = 'ASC'",
    "SET integer_division = false",
    "SET ieee_floating_point_ops = true",
    "SET old_implicit_casting = false",
    "SET order_by_non_integer_literal = false",
    "SET scalar_subquery_error_on_multiple_rows = true",
    "SET preserve_identifier_case = true",
    "SET preserve_insertion_order = true",
)
"""SET statements in the order they are run; all are valid before the configuration is locked."""
