"""Every error podsql raises, by PEP 249 class and stable code.

    Error
    ├── InterfaceError               misuse of the driver itself
    └── DatabaseError
        ├── DataError                a value that does not fit
        ├── IntegrityError           tampered or contradictory evidence (keys, manifests, results)
        ├── InternalError            a fault of ours
        ├── NotSupportedError        the planner cannot do it exactly
        ├── OperationalError         somebody is missing, late, out of resources
        └── ProgrammingError         the statement or its author is at fault
            └── PolicyError          not allowed

An error carries ``code`` (stable, upper case), ``hint`` (one line: what to do next) and, where
known, ``pod`` and ``statement_id``. Messages are lower case, hold names and counts only, and never
a row value or a literal of the statement: they cross borders and reach logs. Rule to keep: a new
code gets a row in ``CODES`` so that a remote refusal is rebuilt as the same class here.
"""

from typing import Final


class Warning(Exception):
    """Important warnings (PEP 249)."""


class Error(Exception):
    """Base of all podsql errors (PEP 249)."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "INTERNAL",
        hint: str = "",
        pod: str | None = None,
        statement_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.pod = pod
        self.statement_id = statement_id

    def __str__(self) -> str:
        where = f" (pod {self.pod!r})" if self.pod else ""
        hint = f"\nhint: {self.hint}" if self.hint else ""
        return f"{self.code}: {self.message}{where}{hint}"


class InterfaceError(Error):
    """The driver was misused: closed connection, wrong argument."""


class DatabaseError(Error):
    """Anything beyond the interface."""


class DataError(DatabaseError):
    """A value is out of range or of the wrong type."""


class IntegrityError(DatabaseError):
    """Evidence contradicts itself: keys, signatures, manifests, results."""


class InternalError(DatabaseError):
    """A fault of podsql."""


class NotSupportedError(DatabaseError):
    """The statement cannot be answered exactly; the message says which part and why."""


class OperationalError(DatabaseError):
    """Somebody is missing, too slow, or out of resources."""


class ProgrammingError(DatabaseError):
    """The statement is wrong."""


class PolicyError(ProgrammingError):
    """A custodian's policy does not allow the statement."""


CODES: Final[dict[str, type[Error]]] = {
    # the statement
    "SYNTAX": ProgrammingError,
    "UNKNOWN_TABLE": ProgrammingError,
    "UNKNOWN_COLUMN": ProgrammingError,
    "BINDING": ProgrammingError,
    "PARAMETERS": ProgrammingError,
    "OPTION": ProgrammingError,
    "MULTI_STATEMENT": ProgrammingError,
    "STATEMENT": NotSupportedError,
    "PARSER_DISAGREES": NotSupportedError,
    "NOT_EXACT": NotSupportedError,
    "NOT_LOCAL": NotSupportedError,
    "NOT_SUPPORTED": NotSupportedError,
    "AMBIGUOUS_SCHEMA": NotSupportedError,
    "REFERENCE_MISMATCH": IntegrityError,
    "LOCAL_KEY_VIOLATED": IntegrityError,
    # policy
    "DENIED": PolicyError,
    "WITHHELD": PolicyError,
    "BUDGET": PolicyError,
    "QUOTA": PolicyError,
    "POLICY_UNAVAILABLE": PolicyError,
    "PAUSED": PolicyError,
    "IN_REVIEW": PolicyError,
    # models
    "UNKNOWN_MODEL": ProgrammingError,
    "UNKNOWN_JOB": ProgrammingError,
    "MODEL_STATE": ProgrammingError,
    "SEPARATION": DataError,
    "COLLINEAR": DataError,
    "NOT_CONVERGED": DataError,
    "TOO_FEW_PODS": PolicyError,
    # data
    "DATA": DataError,
    "OVERFLOW": DataError,
    # pods and transport
    "NO_PODS": OperationalError,
    "PODS_MISSING": OperationalError,
    "POD_LOST": OperationalError,
    "POD_FAILED": OperationalError,
    "SUM_RESTART": OperationalError,
    "STALE_OFFER": OperationalError,
    "TIMEOUT": OperationalError,
    "CANCELLED": OperationalError,
    "OUT_OF_MEMORY": OperationalError,
    "DISK_FULL": OperationalError,
    "RESULT_TOO_BIG": OperationalError,
    "BUSY": OperationalError,
    "CLOCK": OperationalError,
    "CONFLICT": OperationalError,
    "RELAY_UNREACHABLE": OperationalError,
    "REPLACED": OperationalError,
    "PROXY": OperationalError,
    "EXPIRED_RESULT": OperationalError,
    # files that the analyst names
    "FILE": OperationalError,
    "FILE_EXISTS": OperationalError,
    # identity
    "RELAY_KEY": IntegrityError,
    "REVOKED": IntegrityError,
    "NOT_ADMITTED": IntegrityError,
    "UNKNOWN_PEER": OperationalError,
    "ROLE": IntegrityError,
    "SIGNATURE": IntegrityError,
    "KEY_FILE": IntegrityError,
    "MANIFEST": IntegrityError,
    "INVITE": IntegrityError,
    "REPLAY": IntegrityError,
    "DELEGATION": IntegrityError,
    "BAD_FRAME": IntegrityError,
    "BAD_MESSAGE": IntegrityError,
    "BAD_RESULT": IntegrityError,
    "SESSION": IntegrityError,
    # set-up
    "CONFIG": InterfaceError,
    "LEDGER": InterfaceError,
    "POLICY_FILE": InterfaceError,
    "SOURCE": InterfaceError,
    "CLOSED": InterfaceError,
    "ARGUMENT": InterfaceError,
    "INTERNAL": InternalError,
}
"""Every stable code and the class it is raised as."""


def error(
    code: str,
    message: str,
    *,
    hint: str = "",
    pod: str | None = None,
    statement_id: str | None = None,
) -> Error:
    """Build the error of ``code``; an unknown code (a newer peer's) becomes OperationalError."""
    kind = CODES.get(code, OperationalError)
    return kind(message, code=code, hint=hint, pod=pod, statement_id=statement_id)
