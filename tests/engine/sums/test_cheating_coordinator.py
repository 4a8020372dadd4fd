"""What a coordinator may try, alone or with pods in league: each is refused by the pod, by its code.

Where a refusal rests on a count, the same attack is shown to work with too small a count.
"""

import os

import pytest
from msgspec.structs import replace
from nacl.bindings import crypto_scalarmult_base
from sum_world import World, refused

from podsql.engine.sums.documents import read_keys
from podsql.engine.sums.job import Terms
from podsql.engine.sums.masks import add_masks
from podsql.engine.sums.pod import SumPod
from podsql.engine.sums.pod_round import Input
from podsql.engine.sums.seeds import pair_mask, pair_root, pair_seed, unseal
from podsql.engine.sums.shamir import Interpolation
from podsql.engine.sums.words import words_of_bytes
from podsql.errors import Error
from podsql.messages import encode
from podsql.relay.keys import signing_public
from podsql.relay.signing import sign
from podsql.sum_messages import SumKey, SumKeys, SumList, SumMember, SumPart, SumRound, SumStart

THERE = ("pod00", "pod01", "pod02")


@pytest.fixture
def world():
    """Four pods, a quorum of three: all but ``pod03`` have masked their cells."""
    world = World(4)
    world.meet()
    world.deals = world.deal()
    world.masked = world.mask(world.deals, pods=THERE)
    return world


def finish(world):
    """The pods still do what they should: whatever was refused before changed nothing."""
    lists = world.agree(world.survivors(THERE, ["pod03"]), THERE)
    return {pod: world.ask(pod, world.unmask(lists)) for pod in THERE}


# -- both kinds of shares of one pod ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("alive", "missing"),
    [
        (THERE, ("pod02", "pod03")),
        (THERE, ()),
        (THERE, ("pod03", "pod03")),
        (THERE, ("pod03", "pod99")),
        (THERE, ("pod99",)),
        ((*THERE, "pod02"), ("pod03",)),
        ((*THERE, "pod99"), ("pod03",)),
    ],
    ids=str,
)
def test_lists_that_do_not_have_each_dealer_once_are_refused(world, alive, missing):
    refused("BAD_MESSAGE", world.ask, "pod00", world.survivors(alive, missing))
    finish(world)


def test_a_list_without_the_pod_that_is_to_sign_it_is_refused(world):
    refused("BAD_MESSAGE", world.ask, "pod03", world.survivors(THERE, ["pod03"]))
    asked = world.survivors(["pod01", "pod02", "pod03"], ["pod00"])
    refused("BAD_MESSAGE", world.ask, "pod00", asked)
    finish(world)


def test_a_pod_signs_one_list_a_round(world):
    asked = world.survivors(THERE, ["pod03"])
    world.agree(asked, ["pod00"])
    for again in (asked, world.survivors(world.names)):
        refused("REPLAY", world.ask, "pod00", again)


def test_no_opening_shows_both_kinds_for_a_pod(world):
    for told in finish(world).values():
        assert len(told.alive) == 3
        assert len(told.missing) == 1
        assert not set(told.alive) & set(told.missing)


def test_a_round_is_not_unmasked_a_second_time_for_another_list(world):
    finish(world)
    listed = SumList(world.job.digest, 1, bytes(32), ("pod00", "pod01", "pod03"), ("pod02",))
    lists = {pod: sign("sum-list", encode(listed), seed) for pod, seed in world.seeds.items()}
    refused("REPLAY", world.ask, "pod00", world.unmask(lists))
    refused("REPLAY", world.ask, "pod00", world.survivors(["pod00", "pod01", "pod03"], ["pod02"]))


# -- other words to other pods ---------------------------------------------------------------------


def test_lists_that_differ_are_refused_together_and_too_few_apart():
    world = World(5)
    world.meet()
    world.mask(world.deal())
    two, three = world.names[:2], world.names[2:]
    lists = world.agree(world.survivors(world.names[:4], ["pod04"]), two)
    lists |= world.agree(world.survivors(world.names), three)
    for pod in world.names:
        refused("BAD_MESSAGE", world.ask, pod, world.unmask(lists))
        alike = {name: lists[name] for name in (two if pod in two else three)}
        refused("TOO_FEW_PODS", world.ask, pod, world.unmask(alike))


def told_two_lists(colluders):
    """Nine pods, of which ``pod08`` is in league with the coordinator and signs what it is told.

    Four others are told that ``pod07`` is in the sum, and four that it is missing. Returns how many
    of these showed shares of it, of either kind, and how many are needed.
    """
    world = World(9, colluders=colluders)
    world.meet()
    world.mask(world.deal())
    views = [
        (world.survivors(world.names), ("pod00", "pod01", "pod02", "pod07")),
        (world.survivors([*world.names[:7], "pod08"], ["pod07"]), world.names[3:7]),
    ]
    shown = []
    for asked, pods in views:
        lists = world.agree(asked, pods)
        lists["pod08"] = sign("sum-list", lists[pods[0]].body, world.seeds["pod08"])
        shown.append(len(answers(world, pods, world.unmask(lists))))
    return shown, world.job.quorum


def answers(world, pods, message):
    """Those of the pods that do not find themselves too few."""
    found = {}
    for pod in pods:
        try:
            found[pod] = world.ask(pod, message)
        except Error as fault:
            if fault.code != "TOO_FEW_PODS":
                raise
    return found


def test_two_lists_open_nothing_if_the_pods_in_league_are_reckoned_with():
    assert told_two_lists(colluders=1) == ([0, 0], 6)


def test_two_lists_open_both_masks_of_a_pod_if_they_are_not():
    # Four, and the pod in league, are the five that give a secret.
    assert told_two_lists(colluders=0) == ([4, 4], 5)


def told_two_groups(colluders):
    """The same nine. ``pod00`` is told of dealers that the others then call missing, so that
    nobody who stays hides it. Returns its cells as far as they come out, and its figures."""
    drawn = []
    draws = {"pod08": lambda size: drawn.append(os.urandom(size)) or drawn[-1]}
    world = World(9, colluders=colluders, draws=draws)
    keys = world.meet()
    secret_of_08 = drawn[0]
    deals, figures = world.deal(), world.some_figures()
    gone = world.names[1 : world.job.quorum - 1]
    masked = world.mask(
        {pod: deals[pod] for pod in ("pod00", *gone, "pod08")}, figures, pods=["pod00"]
    )
    rest = [pod for pod in world.names if pod not in gone and pod != "pod00"]
    world.mask(deals, figures, pods=rest)
    signed = answers(world, rest, world.survivors(["pod00", *rest], gone))
    lists = {pod: told.survivors for pod, told in signed.items()}
    openings = answers(world, lists, world.unmask(lists))
    if not openings:
        return None, figures["pod00"]
    shown = {world.job.places[pod]: told for pod, told in openings.items()}
    interpolation = Interpolation(list(shown))
    seeds = [interpolation.secret({place: told.alive[0] for place, told in shown.items()})]
    for at, pod in enumerate(gone):
        key = interpolation.secret({place: told.missing[at] for place, told in shown.items()})
        seeds.append(pair_mask(unseal(key, deals[pod].bundle)[:32], b""))
    public = read_keys(world.job, keys)
    root = pair_root(world.job.digest, secret_of_08, public["pod08"].key, public["pod00"].key)
    seeds.append(pair_mask(pair_seed(root, 1), b""))
    bare = words_of_bytes(masked["pod00"].vector, 128).copy()
    # pod00 is the first by name: it added all its masks.
    add_masks(bare, plus=[], minus=seeds)
    return bare[0].tolist(), figures["pod00"]


def test_no_pod_is_left_alone_if_the_pods_in_league_are_reckoned_with():
    bare, _ = told_two_groups(colluders=1)
    assert bare is None


def test_a_pod_can_be_left_alone_if_they_are_not():
    bare, (rows, (cells,)) = told_two_groups(colluders=0)
    assert bare == [rows, *cells]


# -- too few ---------------------------------------------------------------------------------------


def test_too_few_dealers_or_survivors_are_refused(world):
    fresh = World(4)
    fresh.meet()
    deals = fresh.deal()
    pair = {pod: deals[pod] for pod in ("pod00", "pod01")}
    refused("TOO_FEW_PODS", fresh.ask, "pod00", fresh.shares("pod00", pair))
    asked = world.survivors(["pod00", "pod01"], ["pod02", "pod03"])
    refused("TOO_FEW_PODS", world.ask, "pod00", asked)
    finish(world)


def test_a_pod_signs_no_list_of_fewer_than_its_own_file_says():
    world = World(5, least=5)
    world.meet()
    world.mask(world.deal(), pods=world.names[:4])
    refused("TOO_FEW_PODS", world.ask, "pod00", world.survivors(world.names[:4], ["pod04"]))


def test_a_job_of_two_is_refused(world):
    two = replace(world.told, members=world.told.members[:2])
    refused("TOO_FEW_PODS", world.new_pod("pod00").handle, SumStart(encode(two)))


@pytest.mark.parametrize("colluders", [2, 3, 50])
def test_a_job_of_too_few_for_the_pods_in_league_is_refused(colluders):
    world = World(5)
    told = replace(world.told, members=world.told.members[:3], colluders=colluders)
    refused("TOO_FEW_PODS", world.new_pod("pod00").handle, SumStart(encode(told)))


# -- who takes part --------------------------------------------------------------------------------


def test_a_pod_sums_only_with_those_of_its_own_file(world):
    start = SumStart(encode(world.told))
    some = {pod: key for pod, key in world.identities.items() if pod != "pod02"}
    swapped = {**world.identities, "pod02": signing_public(os.urandom(32))}
    for roster in (some, swapped):
        pod = SumPod(name="pod00", seed=world.seeds["pod00"], terms=Terms(roster=roster))
        assert "'pod02'" in str(refused("DENIED", pod.handle, start))


def test_a_pod_wants_as_many_pods_in_league_reckoned_with_as_its_file_says(world):
    terms = Terms(roster=world.identities, colluders=2)
    pod = SumPod(name="pod00", seed=world.seeds["pod00"], terms=terms)
    refused("DENIED", pod.handle, SumStart(encode(world.told)))


def test_a_job_that_does_not_hold_together_is_refused(world):
    members, told = world.told.members, world.told
    twin = SumMember("pod04", members[0].identity)
    bad = [
        replace(told, members=(members[1], members[0], *members[2:])),
        replace(told, members=(members[0], *members)),
        replace(told, members=(*members, twin)),
        replace(told, members=(*members, SumMember("pod05\0", os.urandom(32)))),
        replace(told, members=(*members, SumMember("pod05", os.urandom(31)))),
        replace(told, members=members[1:]),
        replace(told, members=(replace(members[0], identity=os.urandom(32)), *members[1:])),
        replace(told, nonce=b""),
        replace(told, about=os.urandom(31)),
        replace(told, colluders=-1),
        replace(told, rounds=0),
        replace(told, rounds=2**63),
        replace(told, parts=(SumPart(0, 0),)),
        replace(told, parts=(SumPart(1, -1),)),
        replace(told, parts=(SumPart(1, 127),)),
        replace(told, word=32),
    ]
    for one in bad:
        refused("BAD_MESSAGE", world.new_pod("pod00").handle, SumStart(encode(one)))
    huge = replace(told, parts=(SumPart(2**40, 0),))
    refused("RESULT_TOO_BIG", world.new_pod("pod00").handle, SumStart(encode(huge)))


# -- keys and signatures ---------------------------------------------------------------------------


def begun():
    """Four pods and their signed keys, not yet handed round."""
    world = World(4)
    return world, [world.ask(pod, SumStart(encode(world.told))).key for pod in world.names]


def with_key(world, keys, pod, *, key=None, job=None, name=None, seed=None):
    """The keys, that of ``pod`` replaced by what ``seed`` signs."""
    own = key or crypto_scalarmult_base(os.urandom(32))
    told = SumKey(job or world.job.digest, name or pod, own, apart=False)
    signed = sign("sum-key", encode(told), seed or world.seeds[pod])
    return SumKeys(
        world.job.digest,
        tuple(signed if at == pod else key for at, key in zip(world.names, keys, strict=True)),
    )


def test_a_key_of_the_coordinators_own_is_refused():
    world, keys = begun()
    swapped = with_key(world, keys, "pod01", seed=os.urandom(32))
    refused("SIGNATURE", world.ask, "pod00", swapped)
    other_seed = with_key(world, keys, "pod01", seed=world.seeds["pod02"])
    refused("SIGNATURE", world.ask, "pod00", other_seed)
    own = with_key(world, keys, "pod00")
    refused("SIGNATURE", world.ask, "pod00", own)
    world.ask("pod00", SumKeys(world.job.digest, tuple(keys)))
    refused("REPLAY", world.ask, "pod00", SumKeys(world.job.digest, tuple(keys)))


def test_a_forged_signature_is_refused():
    world, keys = begun()
    body = bytearray(keys[1].body)
    body[-1] ^= 1
    signature = bytearray(keys[1].signature)
    signature[7] ^= 1
    for forged in (
        replace(keys[1], body=bytes(body)),
        replace(keys[1], signature=bytes(signature)),
        replace(keys[1], kind="sum-list"),
    ):
        changed = SumKeys(world.job.digest, (keys[0], forged, *keys[2:]))
        refused("SIGNATURE", world.ask, "pod00", changed)


def test_keys_of_another_job_or_pod_are_refused():
    world, keys = begun()
    refused("REPLAY", world.ask, "pod00", with_key(world, keys, "pod01", job=bytes(32)))
    refused("BAD_MESSAGE", world.ask, "pod00", with_key(world, keys, "pod01", name="pod02"))
    refused("BAD_MESSAGE", world.ask, "pod00", with_key(world, keys, "pod01", key=bytes(31)))
    for some in (keys[:3], [*keys, keys[0]], []):
        refused("BAD_MESSAGE", world.ask, "pod00", SumKeys(world.job.digest, tuple(some)))
    order = (keys[0], keys[2], keys[1], keys[3])
    refused("SIGNATURE", world.ask, "pod00", SumKeys(world.job.digest, order))


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)], ids=["zero", "one"])
def test_a_key_that_makes_every_secret_public_is_refused(point):
    world, keys = begun()
    fault = refused("BAD_MESSAGE", world.ask, "pod00", with_key(world, keys, "pod01", key=point))
    assert "keeps nothing secret" in str(fault)


def test_one_key_for_two_pods_is_refused():
    world, keys = begun()
    same = crypto_scalarmult_base(os.urandom(32))
    keys[1] = with_key(world, keys, "pod01", key=same).keys[1]
    refused("BAD_MESSAGE", world.ask, "pod00", with_key(world, keys, "pod02", key=same))


def test_lists_of_strangers_twice_or_altered_are_refused(world):
    lists = world.agree(world.survivors(THERE, ["pod03"]), THERE)
    stranger = sign("sum-list", lists["pod01"].body, os.urandom(32))
    absent = sign("sum-list", lists["pod01"].body, world.seeds["pod03"])
    altered = replace(lists["pod01"], body=lists["pod01"].body + b"\0")
    forged = replace(lists["pod01"], signer=lists["pod02"].signer)
    for code, one in [
        ("BAD_MESSAGE", stranger),
        ("BAD_MESSAGE", absent),
        ("BAD_MESSAGE", lists["pod02"]),
        ("SIGNATURE", altered),
        ("BAD_MESSAGE", forged),
    ]:
        refused(code, world.ask, "pod00", world.unmask({**lists, "pod01": one}))
    forged_alone = {"pod00": lists["pod00"], "pod01": forged}
    refused("SIGNATURE", world.ask, "pod00", world.unmask(forged_alone))
    without_own = {pod: lists[pod] for pod in ("pod01", "pod02")}
    refused("BAD_MESSAGE", world.ask, "pod00", world.unmask(without_own))
    refused("TOO_FEW_PODS", world.ask, "pod00", world.unmask({"pod00": lists["pod00"]}))
    for pod in THERE:
        world.ask(pod, world.unmask(lists))


# -- replayed, renumbered and foreign messages -----------------------------------------------------


@pytest.mark.parametrize("number", [1, 0, -1])
def test_a_round_is_not_begun_twice(world, number):
    refused("REPLAY", world.ask, "pod00", SumRound(world.job.digest, number))
    finish(world)


def test_an_earlier_round_is_not_begun_after_a_later_one(world):
    world.ask("pod00", SumRound(world.job.digest, 5))
    for number in (2, 4, 5):
        refused("REPLAY", world.ask, "pod00", SumRound(world.job.digest, number))


def test_a_round_beyond_the_jobs_is_refused(world):
    refused("BAD_MESSAGE", world.ask, "pod00", SumRound(world.job.digest, 10))


def test_what_a_round_left_unfinished_is_gone_with_the_next(world):
    lists = world.agree(world.survivors(THERE, ["pod03"]), THERE)
    world.ask("pod00", SumRound(world.job.digest, 2))
    refused("REPLAY", world.ask, "pod00", world.unmask(lists))


def test_messages_under_another_rounds_number_are_refused(world):
    asked = world.survivors(THERE, ["pod03"])
    refused("REPLAY", world.ask, "pod00", replace(asked, round=2))
    lists = world.agree(asked, THERE)
    refused("REPLAY", world.ask, "pod00", replace(world.unmask(lists), round=2))


def test_shares_and_lists_of_an_earlier_round_are_refused(world):
    old_lists = world.agree(world.survivors(THERE, ["pod03"]), THERE)
    deals = world.deal(2)
    stale = {**deals, "pod01": world.deals["pod01"]}
    fault = refused("BAD_MESSAGE", world.ask, "pod00", world.shares("pod00", stale, 2))
    assert "'pod01'" in str(fault)
    world.mask(deals, number=2)
    lists = world.agree(world.survivors(world.names, number=2), world.names)
    mixed = {**lists, "pod01": old_lists["pod01"]}
    refused("REPLAY", world.ask, "pod00", world.unmask(mixed, 2))
    for pod in world.names:
        world.ask(pod, world.unmask(lists, 2))


def test_shares_and_keys_and_messages_of_another_job_are_refused():
    world = World(3)
    other = World(3, seeds=world.seeds)
    world.meet()
    foreign_keys = other.meet()
    deals, foreign = world.deal(), other.deal()
    mixed = {**deals, "pod01": foreign["pod01"]}
    refused("BAD_MESSAGE", world.ask, "pod00", world.shares("pod00", mixed))
    refused("REPLAY", world.ask, "pod00", other.shares("pod00", foreign))
    refused("REPLAY", world.ask, "pod00", SumRound(other.job.digest, 2))
    third = World(3, seeds=world.seeds)
    keys = [third.ask(pod, SumStart(encode(third.told))).key for pod in third.names]
    swapped = SumKeys(third.job.digest, (keys[0], foreign_keys[1], keys[2]))
    refused("REPLAY", third.ask, "pod00", swapped)


def test_shares_meant_for_another_pod_or_cut_are_refused(world):
    fresh = World(3)
    fresh.meet()
    deals = fresh.deal()
    right = fresh.shares("pod00", deals)
    for shares in (
        right.shares[::-1],
        fresh.shares("pod01", deals).shares,
        (right.shares[0], right.shares[1][:-1]),
        (right.shares[0], b""),
        right.shares[:1],
        (*right.shares, right.shares[0]),
    ):
        refused("BAD_MESSAGE", fresh.ask, "pod00", replace(right, shares=shares))
    for dealers in (right.dealers[::-1], ("pod01", "pod02"), ("pod00", "pod01", "pod99")):
        refused("BAD_MESSAGE", fresh.ask, "pod00", replace(right, dealers=dealers))
    fresh.ask("pod00", right)
    refused("REPLAY", fresh.ask, "pod00", right)


def test_steps_before_their_time_are_refused():
    world = World(3)
    refused("BAD_MESSAGE", world.ask, "pod00", SumRound(world.job.digest, 1))
    world.ask("pod00", SumStart(encode(world.told)))
    refused("BAD_MESSAGE", world.ask, "pod00", SumRound(world.job.digest, 1))
    refused("REPLAY", world.ask, "pod00", SumStart(encode(world.told)))
    world = World(3)
    world.meet()
    refused("REPLAY", world.ask, "pod00", world.survivors(world.names))
    deals = world.deal()
    refused("BAD_MESSAGE", world.ask, "pod00", world.survivors(world.names))
    refused("BAD_MESSAGE", world.ask, "pod00", world.unmask({}))
    early = Input(round=1, rows=1, parts=([1] * 5,))
    refused("BAD_MESSAGE", world.pods["pod00"].handle, early)
    world.mask(deals)
    refused("REPLAY", world.pods["pod00"].handle, early)
