"""What an analyst reads of a failure at the pod: a code, words without values, a hint."""

from podsql.engine.job import Failed as JobFailed
from podsql.errors import CODES, Error, error
from podsql.messages import Failed, encode
from podsql.policy.denial import Withheld
from podsql.policy.verdict import Verdict
from podsql.relay.sockets.endpoint import Request


def public(fault: Error) -> Error:
    """What an analyst may read of a failure; a fault of ours says nothing of its insides."""
    if fault.code == "INTERNAL" or fault.code not in CODES:
        return error("POD_FAILED", "the pod failed; its custodian's log says why")
    return error(fault.code, fault.message, hint=fault.hint)


def failed(event: JobFailed, verdict: Verdict | None) -> Error:
    """A failed run: over protected rows it is told like a small group, whatever it failed on."""
    hidden = verdict is not None and (verdict.guard or verdict.noise is not None)
    if hidden and event.code in ("DATA", "OVERFLOW"):
        return Withheld(event.code)
    return error(event.code, event.message)


def refuse(request: Request, fault: Error) -> None:
    """Answer ``request`` with what may be said of ``fault``."""
    said = public(fault)
    request.reply(encode(Failed(code=said.code, message=said.message, hint=said.hint)))


def paused() -> Error:
    """The pod answers nothing now: its custodian's act or a policy service's, which is not told."""
    return error("PAUSED", "the custodian has paused this pod", hint="try again later")


def used_up() -> Error:
    """The request id ran before, and its result is not kept."""
    return error(
        "EXPIRED_RESULT",
        "this request id was already used here, and its result is gone",
        hint="send the statement again under a new id",
    )
