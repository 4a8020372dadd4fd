"""Which sets of pods may be summed after each other, by the rule and by playing every kind of cheat."""

import random
from itertools import combinations

import pytest

from podsql.engine.sums.quorum import quorum
from podsql.errors import Error
from podsql.pod.cohorts import MOST, Claim, Cohort, Cohorts, scope_of
from podsql.policy.ledger.store import Ledger

SCOPE = scope_of("", "v1", "visits")


class Kept(dict):
    """A ledger of nothing but answers."""

    answer = dict.get
    keep_answer = dict.setdefault


def cohort(pods, apart="", colluders=1):
    return Cohort(tuple(pods), quorum(len(pods), colluders), tuple(apart))


def denied(work, *parts):
    with pytest.raises(Error) as caught:
        work(*parts)
    assert caught.value.code == "DENIED"
    assert "other pods before" in str(caught.value)


def test_before_a_list_is_signed_a_smaller_set_may_follow_and_nothing_leads_back():
    pod = Cohorts(Kept())
    pod.bring([SCOPE], cohort("abcde"))
    denied(pod.bring, [SCOPE], cohort("abcf"))
    denied(pod.bring, [SCOPE], cohort("abcdef"))
    denied(pod.bring, [SCOPE], cohort("abc"))  # 4 of 5 are a quorum
    pod.bring([SCOPE], cohort("abcd"))
    denied(pod.sign, [SCOPE], cohort("abcde"))
    denied(pod.bring, [SCOPE], cohort("abcde"))
    denied(pod.bring, [SCOPE], cohort("abc"))
    pod.bring([SCOPE], cohort("abcd"))
    pod.sign([SCOPE], cohort("abcd"))
    pod.bring([scope_of("", "v2", "visits")], cohort("abc"))
    pod.bring([scope_of("", "v1", "staff")], cohort("abc"))


def test_what_is_denied_for_one_table_leaves_no_mark_on_another():
    pod = Cohorts(Kept())
    staff = scope_of("", "v1", "staff")
    pod.bring([SCOPE], cohort("abcd"))
    for scopes in ([SCOPE, staff], [staff, SCOPE]):
        denied(pod.bring, scopes, cohort("bcdef"))
    pod.bring([staff], cohort("abc"))
    pod.bring(
        [SCOPE], cohort("abc")
    )  # so the first is signed no more, and the other one is not either
    later = scope_of("", "v2", "staff")
    pod.bring([later], cohort("abcd"))
    denied(pod.sign, [later, SCOPE], cohort("abcd"))
    pod.bring([later], cohort("abc"))


def test_a_set_that_holds_at_once_has_no_successor():
    pod = Cohorts(Kept())
    Claim(cohorts=pod, scopes=[SCOPE], cohort=cohort("abcd"), at_once=True).bring()
    denied(pod.bring, [SCOPE], cohort("abc"))
    pod.bring([SCOPE], cohort("abcd"))


def test_after_a_signature_the_set_stays_also_over_a_restart(tmp_path):
    place = {"path": tmp_path / "ledger.sqlite", "witness": tmp_path / "seen"}
    ledger = Ledger(**place)
    scopes = [SCOPE, scope_of("", "v1", "staff")]
    claim = Claim(cohorts=Cohorts(ledger), scopes=scopes, cohort=cohort("abcd"))
    claim.bring()
    claim.sign()
    ledger.close()
    ledger = Ledger(**place)
    pod = Cohorts(ledger)
    for scope in scopes:
        denied(pod.bring, [scope], cohort("abc"))
        pod.bring([scope], cohort("abcd"))
        pod.sign([scope], cohort("abcd"))
    ledger.close()


def test_all_custodians_whose_pods_would_be_told_apart_must_let_it():
    for first, second, may in (
        (cohort("abcd", "abcd"), cohort("abc", "abc"), True),
        (cohort("abcd", "abc"), cohort("abc", "abc"), False),  # d did not
        (cohort("abcd", ""), cohort("abc", "abc"), False),  # this pod did not, then
        (cohort("abcd", "abcd"), cohort("abc", ""), False),  # or does not now
        (cohort("abc", "abc"), cohort("abcd", "abcd"), True),
        (cohort("abc", "abc"), cohort("abcd", "abc"), False),
    ):
        pod = Cohorts(Kept())
        pod.bring([SCOPE], first)
        pod.sign([SCOPE], first)
        if may:
            pod.bring([SCOPE], second)
            pod.sign([SCOPE], second)
            pod.sign([SCOPE], first)
        else:
            denied(pod.bring, [SCOPE], second)


def test_there_is_an_end_to_sets():
    pod = Cohorts(Kept())
    names = [f"p{at}" for at in range(MOST + 1)]
    for one in names[:MOST]:
        pod.bring([SCOPE], cohort(("a", "b", one), ("a", "b", *names)))
    denied(pod.bring, [SCOPE], cohort(("a", "b", names[-1]), ("a", "b", *names)))


def play(seed):
    """A coordinator asks pods in any order for figures and signatures of any sets; pods in league do
    whatever it likes. The honest pods of each set that it could open: all of them brought figures, and
    a quorum signed."""
    drawn = random.Random(seed)
    n, league = drawn.choice([(4, 1), (5, 1), (6, 1), (7, 2)])
    names = "abcdefg"[:n]
    honest = {name: Cohorts(Kept()) for name in names[league:]}
    sets = [
        cohort(one, colluders=league)
        for size in range(quorum(3, 1), n + 1)
        for one in combinations(names, size)
        if quorum(size, league) <= size
    ]
    chosen = drawn.sample(sets, min(len(sets), drawn.choice([2, 3, 6])))
    if drawn.random() < 0.5 and sets[-1] not in chosen:
        chosen[0] = sets[-1]
    brought = {one.pods: set() for one in chosen}
    signed = {one.pods: set() for one in chosen}
    for _ in range(60):
        one = drawn.choice(chosen)
        pod = drawn.choice(one.pods)
        if pod not in honest:
            continue
        try:
            if pod in brought[one.pods]:
                honest[pod].sign([SCOPE], one)
                signed[one.pods].add(pod)
            else:
                honest[pod].bring([SCOPE], one)
                brought[one.pods].add(pod)
        except Error:
            pass
    lying = set(names[:league])
    return [
        set(one.pods) - lying
        for one in chosen
        if brought[one.pods] >= set(one.pods) & honest.keys()
        and len(signed[one.pods] | (lying & set(one.pods))) >= one.quorum
    ]


def told_twice(opened):
    """Some honest pod is in two of the sets."""
    return sum(map(len, opened)) > len(set().union(*opened))


def test_no_coordinator_opens_two_sets_with_one_honest_pod():
    played = [play(seed) for seed in range(1500)]
    assert not any(map(told_twice, played))
    assert all(len(found) >= 2 for opened in played for found in opened)
    assert 100 < sum(map(len, played)) < 1400


def test_a_rule_without_its_parts_would_be_seen(monkeypatch):
    """Planted faults: smaller sets of no quorum may follow; and what was brought before is signed later."""
    from podsql.pod import cohorts

    with monkeypatch.context() as patched:
        patched.setattr(cohorts, "_succeeds", lambda one, two: True)
        assert any(told_twice(play(seed)) for seed in range(300))

    def sign(self, scopes, asked):
        [scope] = scopes
        place = [one.pods for one in self._known(scope)].index(asked.pods)
        self._answers.keep_answer(cohorts._mark(scope, place, b"signed"), b"")

    with monkeypatch.context() as patched:
        patched.setattr(Cohorts, "sign", sign)
        assert any(told_twice(play(seed)) for seed in range(300))
