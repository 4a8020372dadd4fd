"""What an analyst reads of a failure at the pod: a code, words without values, a hint."""

from podsql.errors import CODES, Error, error
from podsql.messages import Failed, encode
from podsql.relay.sockets.endpoint import Request


def public(fault: Error) -> Error:
    """What an analyst may read of a failure; a fault of ours says nothing of its insides."""
    if fault.code == "INTERNAL" or fault.code not in CODES:
        return error("POD_FAILED", "the pod failed; its custodian's log says why")
    return error(fault.code, fault.message, hint=fault.hint)


def refuse(request: Request, fault: Error) -> None:
    """Answer ``request`` with what may be said of ``fault``."""
    said = public(fault)
    request.reply(encode(Failed(code=said.code, message=said.message, hint=said.hint)))
