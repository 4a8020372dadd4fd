"""The one refusal of the gate. Rule to keep: the analyst sees a code, the custodian the reason.

``reason`` is for the custodian's audit. It holds no literal and no value: a code of ``Reason``.
"""

from typing import Final, Literal

from podsql.errors import PolicyError

Reason = Literal[
    "AGG_NOT_ALLOWED",
    "BAD_LITERAL",
    "BAD_NAME",
    "BAD_TYPE",
    "CONFLICTING_RELEASE",
    "DENIED_COLUMN",
    "DENIED_TABLE",
    "ENCODE_IN_AGG",
    "ENTITY_COUNT",
    "DP_PARAMETERS",
    "EXPIRED",
    "FILTER_KEY_LITERAL",
    "FILTER_ROLE",
    "FRAGMENT_KIND",
    "FUNC_NOT_ALLOWED",
    "GROUP_KEY_ROLE",
    "JOIN_COLUMN",
    "JOIN_INPUT",
    "JOIN_REQUIRED",
    "JOIN_TYPE",
    "KEY_LIST",
    "LIMIT",
    "MERGED_FIGURE",
    "MERGED_REVIEW",
    "MERGED_TABLE",
    "MERGED_UNIT",
    "MODEL_STATE",
    "MULTI_STATEMENT",
    "NESTED_VALUE",
    "NODE_NOT_ALLOWED",
    "NONDETERMINISM",
    "NOT_GRANTED",
    "NO_BOUNDS",
    "NO_DP",
    "NO_LOCAL_TABLES",
    "PARSER_DISAGREES",
    "PERSON",
    "PREDICATE_IN_AGG",
    "PROJECT",
    "PSI_PROBE",
    "PSEUDO_COLUMN",
    "PURPOSE",
    "REVIEW",
    "ROUNDED",
    "ROUNDS",
    "ROW_LEVEL",
    "STAR_EXPR",
    "STATEMENT",
    "SUBQUERY_ROWS",
    "SYNTAX",
    "TABLE_FUNCTION",
    "TIME_TRAVEL",
    "WINDOW",
]

DENIED_TEXT: Final = "the custodian's policy does not allow this statement"
"""The same words for every reason: an unknown table reads like a forbidden one."""


WITHHELD_TEXT: Final = "the answer is withheld: it covers too few privacy units at a pod"


class Denial(PolicyError):
    """Refused by the gate."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(DENIED_TEXT, code="DENIED", hint="ask the custodian of the pod")
        self.reason: Reason = reason


class Withheld(PolicyError):
    """A failure over protected rows, told like any other figure that is withheld.

    What the engine failed on would tell of a row; ``reason`` is for the custodian's audit.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(WITHHELD_TEXT, code="WITHHELD", hint="ask about a larger group")
        self.reason = reason
