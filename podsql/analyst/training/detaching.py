"""``TRAIN MODEL … WITH (detached = true)``: a modeller trains, and the analyst may go away.

The analyst plans the design as for a job of their own, and signs what the modeller may ask of the
pods: the rounds of this model, and nothing else (``job_messages.Delegation``).
Rule to keep: the order is written down here before it is sent, so that no job is without its record.
"""

import time

import msgspec
import pyarrow as pa
from msgspec.structs import replace

from podsql.analyst.bench import Bench
from podsql.analyst.statement import Statement
from podsql.analyst.training.detached import ordered
from podsql.analyst.training.fitting import Prepared
from podsql.analyst.training.modellers import AWAY, ask, chosen
from podsql.analyst.training.recorded import Job
from podsql.analyst.training.running import ready
from podsql.engine.training.registry import model
from podsql.errors import Error, error
from podsql.job_messages import LONGEST_MS, Delegation, JobOrder, statement_hash
from podsql.message import Signed
from podsql.messages import encode
from podsql.planner.closing import noise_of
from podsql.planner.training.marks import marks_of
from podsql.planner.training.orders import Train
from podsql.relay.cards import Card
from podsql.relay.signing import sign


def wants_detached(order: Train) -> bool:
    """Whether a modeller is to train; OPTION if the settings are odd."""
    detached = order.settings.get("detached", False)
    if not isinstance(detached, bool):
        raise error("OPTION", "option 'detached' takes true or false")
    if "modeller" in order.settings and not detached:
        raise error("OPTION", "option 'modeller' goes with detached = true")
    return detached


def order_detached(order: Train, statement: Statement, bench: Bench) -> pa.Table:
    """Order the job; one row: its id, model, state and modeller."""
    named = order.settings.get("modeller")
    if named is not None and not isinstance(named, str):
        raise error("OPTION", "option 'modeller' takes a name")
    if order.earlier and "min_pods" in order.settings:
        # To begin again without a pod, a modeller would have to look at the analyst's shelf.
        raise error("NOT_SUPPORTED", "FROM MODEL with min_pods in a detached job")
    if noise_of(order.settings) is not None:
        # The order names columns of sums without noise; a series with it is priced by who asks.
        raise error("NOT_SUPPORTED", "privacy = 'dp' in a detached job")
    modeller = chosen(named, statement)
    _, prepared, job = ready(order, statement, bench.shelf)
    job = replace(job, state="waiting", modeller=modeller.name)
    bench.jobs.add(job, statement.cancel).release()
    told = JobOrder(
        delegation=_delegation(job, prepared, statement, modeller),
        record=msgspec.json.encode(job),
    )
    try:
        ask(modeller.name, told, statement)
    except Error as fault:
        _not_taken(job, fault, bench)
        raise
    return ordered(job)


def _delegation(job: Job, prepared: Prepared, statement: Statement, modeller: Card) -> Signed:
    keys, now = statement.federation.membership.keys, time.time_ns() // 1_000_000
    design, cards = prepared.design, prepared.bound.cards
    told = Delegation(
        job=statement.statement_id,
        analyst=keys.identity_public,
        modeller=modeller.identity,
        statement=statement_hash(job.statement),
        families=("moments", model(job.family).family),
        designs=marks_of(design, statement.statement_id, masked=prepared.masking is not None),
        tables=design.tables,
        purpose=job.purpose,
        project=job.project,
        pods=tuple(cards[pod].identity for pod in design.pods),
        created=now,
        expires=now + LONGEST_MS,
    )
    return sign("delegation", encode(told), keys.identity)


def _not_taken(job: Job, fault: Error, bench: Bench) -> None:
    """The modeller refused; or nobody knows whether the order has reached it."""
    if fault.code in AWAY or fault.code == "CANCELLED":
        fault.hint = "the modeller may have the order all the same: SHOW JOBS"
        return
    said, now = f"{fault.code}: {fault.message}", time.time_ns() // 1_000_000
    bench.jobs.change(job.id, lambda old: replace(old, state="failed", error=said, ended=now))
