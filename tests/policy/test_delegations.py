"""An analyst's order to a modeller: what pods and policy services take it for, and what not."""

import msgspec
import pytest

from podsql.errors import Error
from podsql.job_messages import LONGEST_MS, Delegation, statement_hash
from podsql.messages import RequestHead, encode
from podsql.planner.fragment import (
    Aggregate,
    Feature,
    Literal,
    LocalTable,
    ModelStep,
    NoisyStep,
    Split,
)
from podsql.planner.training.marks import mark_asked
from podsql.policy.delegations import read_delegation, require_request, require_round
from podsql.policy.service.decide import read_delegated, read_request
from podsql.relay.keys import PeerKeys
from podsql.relay.signing import sign

ANA, MO, EVE = PeerKeys.generate(), PeerKeys.generate(), PeerKeys.generate()
NOW = 1_800_000_000_000
JOB = b"j" * 16
SQL = "TRAIN MODEL m USING logistic_regression PREDICT ill FROM (SELECT age, ill FROM visits)"
AGE, ILL, DOSE = Feature("c0", "age"), Feature("c1", "ill"), Feature("c2", "dose")
STEP = ModelStep(
    family="binomial",
    source="FROM main.visits WHERE (age > $1)",
    features=(AGE,),
    targets=(ILL,),
    state=(0.0, 0.0),
    literals=(Literal("number", "20"),),
)
LEVELS = msgspec.structs.replace(
    STEP, family="moments", features=(Feature("c2", "sex = 'm'", True),), targets=(), state=()
)
"""The round that asks for every level of a category alone."""
ORDER = Delegation(
    job=JOB,
    analyst=ANA.identity_public,
    modeller=MO.identity_public,
    statement=statement_hash(SQL),
    families=("moments", "binomial"),
    designs=(mark_asked(STEP, JOB), mark_asked(LEVELS, JOB)),
    tables=("main.visits",),
    purpose="audit",
    project="p",
    pods=(b"n" * 32, b"s" * 32),
    created=NOW,
    expires=NOW + LONGEST_MS,
)
HEAD = RequestHead(
    request_id=b"r" * 16,
    statement_id=JOB,
    pod=b"n" * 32,
    analyst=ANA.identity_public,
    handshake=b"h" * 32,
    payload_hash=b"x" * 32,
    tables=("main.visits",),
    purpose="audit",
    project="p",
    pods=("north", "south"),
    offer="o",
    created=NOW,
    deadline=NOW + 60_000,
)


def signed(order=ORDER, by=ANA):
    return sign("delegation", encode(order), by.identity)


def changed(struct, **change):
    return msgspec.structs.replace(struct, **change)


def code_of(act):
    with pytest.raises(Error) as caught:
        act()
    return caught.value.code


def test_an_order_is_read_by_the_modeller_it_is_for_until_it_expires():
    document, mo = signed(), MO.identity_public
    for now in (NOW, NOW + LONGEST_MS - 1):
        assert read_delegation(document, modeller=mo, now=now) == ORDER
    longer = signed(changed(ORDER, expires=NOW + LONGEST_MS + 1))
    edited = changed(document, body=encode(changed(ORDER, tables=("main.people",))))
    other_kind = sign("request", encode(ORDER), ANA.identity)
    for odd, now, code in (
        (document, NOW + LONGEST_MS, "DELEGATION"),
        (document, NOW - 60_001, "CLOCK"),
        (longer, NOW, "DELEGATION"),
        (signed(by=EVE), NOW, "SIGNATURE"),
        (signed(changed(ORDER, modeller=EVE.identity_public)), NOW, "SIGNATURE"),
        (edited, NOW, "SIGNATURE"),
        (other_kind, NOW, "SIGNATURE"),
    ):
        assert code_of(lambda odd=odd, now=now: read_delegation(odd, modeller=mo, now=now)) == code


@pytest.mark.parametrize(
    "change",
    [
        {"statement_id": b"k" * 16},
        {"analyst": EVE.identity_public},
        {"tables": ("main.visits", "main.people")},
        {"tables": ()},
        {"purpose": "other"},
        {"project": ""},
        {"pod": b"w" * 32},
    ],
)
def test_a_request_is_the_one_that_was_ordered(change):
    require_request(ORDER, HEAD)
    assert code_of(lambda: require_request(ORDER, changed(HEAD, **change))) == "DELEGATION"


@pytest.mark.parametrize(
    "step",
    [
        changed(STEP, family="ranks"),
        changed(STEP, source="FROM main.visits"),
        changed(STEP, features=(AGE, DOSE)),
        changed(STEP, features=(changed(AGE, indicator=True),)),
        changed(STEP, targets=(DOSE,)),
        # The same columns: fewer of them (of which other rows are complete), the other way round, twice.
        changed(STEP, targets=()),
        changed(STEP, features=(), targets=(ILL,)),
        changed(STEP, features=(ILL,), targets=(AGE,)),
        changed(STEP, features=(AGE, AGE)),
        changed(STEP, features=(AGE, *LEVELS.features)),
        changed(STEP, features=(AGE, ILL), targets=()),
        # In the clear, what was ordered under masks, or the other way round.
        changed(STEP, masked=True),
        changed(STEP, split=Split(2, True)),
        changed(STEP, literals=(Literal("number", "21"),)),
        Aggregate(source=STEP.source, keys=(), aggregates=()),
        LocalTable(source=STEP.source, columns=(), table="t", model="0" * 64),
        NoisyStep(family="binomial", source=STEP.source, features=(AGE,), targets=(ILL,)),
    ],
)
def test_a_round_is_of_the_design_that_was_ordered(step):
    for fine in (
        STEP,
        changed(STEP, family="moments", state=()),
        changed(STEP, state=(3.0, 1.0), centre=(1.0,), scale=(2.0,)),
        changed(STEP, features=(changed(AGE, name="c7"),)),
        LEVELS,
    ):
        require_round(ORDER, SQL, fine)
    assert code_of(lambda: require_round(ORDER, SQL, step)) == "DELEGATION"
    assert code_of(lambda: require_round(ORDER, SQL + " ", STEP)) == "DELEGATION"


def test_a_policy_service_reads_a_modellers_request_by_the_order_only():
    document, order = sign("request", encode(HEAD), MO.identity), signed()
    assert read_delegated(document, order, NOW) == HEAD
    assert code_of(lambda: read_request(document)) == "SIGNATURE"
    by_eve = sign("request", encode(HEAD), EVE.identity)
    wider = sign("request", encode(changed(HEAD, purpose="other")), MO.identity)
    assert code_of(lambda: read_delegated(by_eve, order, NOW)) == "SIGNATURE"
    assert code_of(lambda: read_delegated(document, signed(by=EVE), NOW)) == "SIGNATURE"
    assert code_of(lambda: read_delegated(wider, order, NOW)) == "DELEGATION"
