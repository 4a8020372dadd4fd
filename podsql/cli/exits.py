"""Exit codes: one table from error codes to what a shell script can act on.

0 ok · 1 other failure · 2 usage · 3 identity · 4 refused by policy · 5 pods missing · 6 timeout
· 130 interrupted (as shells have it).
Rule to keep: every code of ``podsql.errors`` is in the table (a test compares).
"""

from typing import Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
IDENTITY: Final = 3
POLICY: Final = 4
PODS_MISSING: Final = 5
TIMED_OUT: Final = 6
INTERRUPTED: Final = 130

EXITS: Final[dict[str, int]] = {
    # the statement, the command line and the files a person writes
    "SYNTAX": USAGE,
    "UNKNOWN_TABLE": USAGE,
    "UNKNOWN_COLUMN": USAGE,
    "BINDING": USAGE,
    "PARAMETERS": USAGE,
    "OPTION": USAGE,
    "MULTI_STATEMENT": USAGE,
    "STATEMENT": USAGE,
    "PARSER_DISAGREES": USAGE,
    "NOT_EXACT": USAGE,
    "NOT_LOCAL": USAGE,
    "NOT_SUPPORTED": USAGE,
    "AMBIGUOUS_SCHEMA": USAGE,
    "UNKNOWN_MODEL": USAGE,
    "UNKNOWN_JOB": USAGE,
    "MODEL_STATE": USAGE,
    "CONFIG": USAGE,
    "POLICY_FILE": USAGE,
    "LEDGER": USAGE,
    "SOURCE": USAGE,
    "ARGUMENT": USAGE,
    "CONFLICT": USAGE,
    "FILE": USAGE,
    "FILE_EXISTS": USAGE,
    # who is who
    "RELAY_KEY": IDENTITY,
    "REVOKED": IDENTITY,
    "NOT_ADMITTED": IDENTITY,
    "ROLE": IDENTITY,
    "SIGNATURE": IDENTITY,
    "KEY_FILE": IDENTITY,
    "MANIFEST": IDENTITY,
    "INVITE": IDENTITY,
    "REPLAY": IDENTITY,
    "DELEGATION": IDENTITY,
    "SESSION": IDENTITY,
    "CLOCK": IDENTITY,
    # custodians' policies
    "DENIED": POLICY,
    "WITHHELD": POLICY,
    "BUDGET": POLICY,
    "QUOTA": POLICY,
    "POLICY_UNAVAILABLE": POLICY,
    "PAUSED": POLICY,
    "IN_REVIEW": POLICY,
    "TOO_FEW_PODS": POLICY,
    # who is missing
    "NO_PODS": PODS_MISSING,
    "PODS_MISSING": PODS_MISSING,
    "POD_LOST": PODS_MISSING,
    "SUM_RESTART": PODS_MISSING,
    "UNKNOWN_PEER": PODS_MISSING,
    "RELAY_UNREACHABLE": PODS_MISSING,
    "REPLACED": PODS_MISSING,
    "PROXY": PODS_MISSING,
    "TIMEOUT": TIMED_OUT,
    # failures of data, resources, other sides and ours
    "REFERENCE_MISMATCH": FAILED,
    "LOCAL_KEY_VIOLATED": FAILED,
    "DATA": FAILED,
    "OVERFLOW": FAILED,
    "SEPARATION": FAILED,
    "COLLINEAR": FAILED,
    "NOT_CONVERGED": FAILED,
    "POD_FAILED": FAILED,
    "STALE_OFFER": FAILED,
    "CANCELLED": FAILED,
    "OUT_OF_MEMORY": FAILED,
    "DISK_FULL": FAILED,
    "RESULT_TOO_BIG": FAILED,
    "BUSY": FAILED,
    "EXPIRED_RESULT": FAILED,
    "BAD_FRAME": FAILED,
    "BAD_MESSAGE": FAILED,
    "BAD_RESULT": FAILED,
    "CLOSED": FAILED,
    "INTERNAL": FAILED,
}


def exit_code(code: str) -> int:
    """The exit code of an error code; 1 for one that a newer peer invented."""
    return EXITS.get(code, FAILED)
