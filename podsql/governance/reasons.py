"""Rule ids of decisions, in words: a decision log that only a programmer can read is none.

Rule to keep: every reason of the gate is here (a test compares); the words hold no value.
"""

from typing import Final

GATE: Final[dict[str, str]] = {
    "AGG_NOT_ALLOWED": "an aggregate that the policy does not allow on this column",
    "BAD_LITERAL": "a value written in a form that is not taken",
    "BAD_NAME": "a name that is ambiguous or not plain",
    "BAD_TYPE": "an operation on a type it is not allowed for",
    "CONFLICTING_RELEASE": "tables whose release rules do not go together",
    "DENIED_COLUMN": "a column that the policy does not list for this use",
    "DENIED_TABLE": "a table that the policy does not list for this use",
    "ENCODE_IN_AGG": "an aggregate of something that could encode a row",
    "ENTITY_COUNT": "units cannot be counted in this statement, so no threshold could hold",
    "DP_PARAMETERS": "privacy parameters outside what the policy allows",
    "EXPIRED": "the policy is not in force on that day",
    "FILTER_KEY_LITERAL": "a condition that compares a key of persons with a value",
    "FILTER_ROLE": "a condition on a column that may not be filtered by",
    "FRAGMENT_KIND": "a kind of question that these tables do not answer",
    "FUNC_NOT_ALLOWED": "a function that is not on the list of safe ones",
    "GROUP_KEY_ROLE": "groups by a column that may not form groups",
    "JOIN_COLUMN": "a join on columns that may not join",
    "JOIN_INPUT": "a join with something that is not a table",
    "JOIN_REQUIRED": "the policy asks for a join",
    "JOIN_TYPE": "a kind of join that the policy does not allow",
    "KEY_LIST": "groups under masks by a key whose values are not declared",
    "LIMIT": "a statement larger or deeper than allowed",
    "MODEL_STATE": "numbers of a model's round that no round can have",
    "MULTI_STATEMENT": "more than one statement",
    "NESTED_VALUE": "a nested value taken apart",
    "NODE_NOT_ALLOWED": "a part of SQL that is not on the list of safe ones",
    "NONDETERMINISM": "something that depends on chance",
    "NOT_GRANTED": "a policy service did not agree",
    "NO_BOUNDS": "noise needs declared bounds, and the column has none",
    "NO_DP": "no noise is offered for this",
    "NO_LOCAL_TABLES": "a table of results, which the pod's file lets nobody write",
    "PARSER_DISAGREES": "two readers understood the text differently",
    "PERSON": "the policy does not name this person, role or key",
    "PREDICATE_IN_AGG": "a condition hidden inside an aggregate",
    "PROJECT": "the policy does not name this project",
    "PSI_PROBE": "a comparison of keys that could single one out",
    "PSEUDO_COLUMN": "an internal column of the engine",
    "PURPOSE": "the policy does not name this purpose",
    "REVIEW": "a second person did not release the result, or such a result cannot be reviewed",
    "ROUNDED": "a model, which would tell the exact counts that are rounded elsewhere",
    "ROUNDS": "rounds of a model that differ, where figures must not differ by few people",
    "ROW_LEVEL": "rows, where only figures leave",
    "STAR_EXPR": "a star where columns must be named",
    "STATEMENT": "a kind of statement that pods do not run",
    "SUBQUERY_ROWS": "a subquery over rows, where only figures leave",
    "SYNTAX": "a text that is not SQL",
    "TABLE_FUNCTION": "a function in place of a table (files, settings)",
    "TIME_TRAVEL": "an old version of a table",
    "WINDOW": "a window function",
}
LATER: Final[dict[str, str]] = {
    "BUDGET": "the privacy budget does not cover it",
    "BUSY": "too many statements at once",
    "CANCELLED": "the analyst cancelled it",
    "CLOCK": "clocks disagree",
    "CONFLICT": "a request id was used for two statements",
    "DATA": "it failed on the data (withheld: it would tell of a row)",
    "DELEGATION": "a modeller asked what no order of an analyst covers, or not any more",
    "EXPIRED_RESULT": "a request id was used again after its result had gone",
    "FEW_KEYS": "too few keys for a comparison to be told",
    "IN_REVIEW": "the result waits until a second person releases it",
    "OUT_OF_MEMORY": "it wanted more memory than the pod gives",
    "OVERFLOW": "a number grew too large (withheld: it would tell of a row)",
    "PAUSED": "the custodian had paused the pod, a policy service had frozen it, or a new opt-out list was being taken in",
    "POD_FAILED": "a fault of the pod",
    "POLICY_UNAVAILABLE": "a policy service did not answer",
    "QUOTA": "a daily or total limit was reached",
    "RESULT_TOO_BIG": "the result was larger than allowed",
    "REVOKED": "a modeller asked for an analyst who is no member",
    "ROLE": "somebody asked in another's place who is no modeller",
    "SIGNATURE": "an order to a modeller that its analyst did not sign for it",
    "STALE_OFFER": "rights or data had changed since the analyst was told of them",
    "TIMEOUT": "it ran longer than allowed",
    "no answer in time": "a policy service did not answer",
    "no revocation list": "a policy service did not answer, and no list of revocations was at hand",
    "no signed grant at hand": "a policy service did not answer, and no grant of it was at hand",
    "revocation list too old": "a policy service did not answer for too long",
    "service went back": "a policy service was set back to an older state",
}


def in_words(reason: str) -> str:
    """What a rule id means; empty for an allowed statement."""
    if not reason:
        return ""
    return GATE.get(reason) or LATER.get(reason) or "see the pod's own log"
