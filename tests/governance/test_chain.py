"""A log that was tampered with: edited, removed, reordered, cut, pruned by the wrong hand."""

import msgspec
import pytest

from podsql.errors import Error
from podsql.pod.keeping import check_log
from podsql.policy.audit import GENESIS, Audit, Entry, check, lines
from podsql.policy.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from podsql.policy.heads import Head, check_against, read_head, sign_head
from podsql.policy.pruning import YEAR_MS, oldest_kept, prune, require_old_enough
from podsql.relay.keys import PeerKeys

NOW = 1_770_000_000_000
KEYS = PeerKeys.generate()
OTHER = PeerKeys.generate()
MINE = KEYS.identity_public


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.jsonl"


@pytest.fixture
def audit(path):
    """Ten lines, one a second."""
    made = Audit(path, now=NOW)
    for number in range(10):
        made.append(Entry(time=NOW + 1000 * number, event="query", decision="allow", rows=number))
    yield made
    made.close()


def refused(path, words, **known):
    with pytest.raises(Error, match=words):
        check_log(path, **known)


def rewritten(path, change):
    found = path.read_bytes().splitlines(keepends=True)
    change(found)
    path.write_bytes(b"".join(found))


def test_an_edited_a_removed_and_a_reordered_line_are_named(audit, path):
    whole = path.read_bytes()
    for words, change in (
        (
            "changed at line 4",
            lambda found: found.__setitem__(3, found[3].replace(b'"rows":3', b'"rows":4')),
        ),
        ("changed at line 4", lambda found: found.pop(3)),
        ("changed at line 4", lambda found: found.insert(3, found.pop(4))),
        ("changed at line 1", lambda found: found.pop(0)),
        ("damaged line", lambda found: found.__setitem__(3, b"{}\n")),
    ):
        path.write_bytes(whole)
        rewritten(path, change)
        refused(path, words)


def test_a_cut_end_shows_against_a_head_kept_elsewhere(audit, path):
    signed = sign_head(Head(pod="north", count=10, hash=audit.head, time=NOW), KEYS.identity)
    assert check_log(path, head=signed, signer=MINE).count == 10
    assert check_log(path, head=audit.head).count == 10
    rewritten(path, lambda found: found.pop())
    assert check_log(path).count == 9  # alone, a cut end looks whole
    refused(path, "was cut after line 9", head=signed)
    refused(path, "was cut after line 9", head=audit.head)


def test_a_log_written_anew_shows_against_an_older_head(audit, path, tmp_path):
    signed = sign_head(Head(pod="north", count=10, hash=audit.head, time=NOW), KEYS.identity)
    other = Audit(tmp_path / "other", now=NOW)
    for number in range(12):
        other.append(Entry(time=NOW + number, event="query"))
    other.close()
    refused(tmp_path / "other", "another one", head=signed)


def test_a_head_counts_only_with_the_pods_signature(audit):
    head = Head(pod="north", count=10, hash=audit.head, time=NOW)
    assert read_head(sign_head(head, KEYS.identity), MINE) == (head, MINE)
    with pytest.raises(Error, match="another key"):
        read_head(sign_head(head, OTHER.identity), MINE)
    text = sign_head(head, KEYS.identity)
    for damaged in ("podsql-head:", "x", text[:-6] + "AAAAAA", text[: len(text) // 2]):
        with pytest.raises(Error):
            read_head(damaged, MINE)


def test_old_lines_leave_and_the_chain_goes_on(audit, path):
    early = Head(pod="north", count=2, hash=list(lines(path))[1].hash, time=NOW)
    late = Head(pod="north", count=8, hash=list(lines(path))[7].hash, time=NOW)
    done = prune(audit, before=NOW + 4000, now=NOW + 60_000, seed=KEYS.identity)
    assert (done.removed, done.removed_ever) == (4, 4)
    chain = check(path, signer=MINE)
    assert (chain.lines, chain.removed, chain.count, chain.head) == (7, 4, 11, audit.head)
    assert [line.number for line in lines(path)] == list(range(4, 11))
    assert list(lines(path))[-1].entry.event == "prune"
    audit.append(Entry(time=NOW + 61_000, event="query"))
    assert check(path, head=late.hash).count == 12
    assert check_against(path, late, MINE).count == 12
    with pytest.raises(Error, match="were pruned"):
        check_against(path, early, MINE)
    # A second time: the count is of all that ever left.
    again = prune(audit, before=NOW + 6000, now=NOW + 62_000, seed=KEYS.identity)
    assert (again.removed, again.removed_ever) == (2, 6)
    assert check(path, signer=MINE).removed == 6
    exact = Head(pod="north", count=6, hash=check(path).checkpoint.last, time=NOW)
    assert check_against(path, exact, MINE).removed == 6
    nothing = prune(audit, before=NOW, now=NOW + 63_000, seed=KEYS.identity)
    assert (nothing.removed, nothing.removed_ever) == (0, 6)
    assert oct(path.stat().st_mode & 0o777) == "0o600"


def test_a_pruned_log_is_opened_again_and_every_line_may_leave(audit, path):
    prune(audit, before=NOW + YEAR_MS, now=NOW + 60_000, seed=KEYS.identity)
    assert [line.entry.event for line in lines(path)] == ["prune"]
    audit.close()
    again = Audit(path, now=NOW)
    again.append(Entry(time=NOW, event="start"))
    assert check(path, signer=MINE).count == 12
    audit._file = again._file  # the fixture closes it


def test_a_log_that_was_changed_is_not_pruned_into_a_clean_one(audit, path):
    rewritten(path, lambda found: found.__setitem__(1, found[1].replace(b'"rows":1', b'"rows":9')))
    before = path.read_bytes()
    with pytest.raises(Error, match="changed at line 2"):
        prune(audit, before=NOW + 4000, now=NOW, seed=KEYS.identity)
    assert path.read_bytes() == before


def test_a_forged_checkpoint_is_noticed(audit, path):
    kept = path.read_bytes().splitlines(keepends=True)
    last = list(lines(path))[3].hash

    def forged(removed: int, seed: bytes, count: int) -> None:
        line = write_checkpoint(removed=removed, last=last, before=NOW, now=NOW, seed=seed)
        path.write_bytes(line + b"".join(kept[count:]))

    # Lines are gone, and nothing in the chain announced it.
    forged(4, KEYS.identity, 4)
    refused(path, "no line of it announces")
    path.write_bytes(b"".join(kept))
    prune(audit, before=NOW + 4000, now=NOW + 60_000, seed=KEYS.identity)
    pruned = path.read_bytes().splitlines(keepends=True)
    first = read_checkpoint(pruned[0])
    # More lines are gone than it says; it says other numbers; it is gone; it is another's.
    for words, head, rest in (
        ("changed at line 5", pruned[0], pruned[2:]),
        ("not signed by the pod", _edited(first, removed=5), pruned[2:]),
        ("not signed by the pod", _edited(first, last=GENESIS), pruned[1:]),
        ("not signed by the pod", _edited(first, signer=OTHER.fingerprint), pruned[1:]),
        ("changed at line 1", b"", pruned[1:]),
        ("damaged", pruned[0].replace(b'"removed"', b'"remover"'), pruned[1:]),
        ("changed at line 1", pruned[1], [pruned[0], *pruned[2:]]),
    ):
        path.write_bytes(head + b"".join(rest))
        refused(path, words)
    strange = write_checkpoint(
        removed=first.removed, last=first.last, before=first.before, now=NOW, seed=OTHER.identity
    )
    path.write_bytes(strange + b"".join(pruned[1:]))
    refused(path, "not signed by the pod", signer=MINE)
    path.write_bytes(b"".join(pruned))
    assert check_log(path, signer=MINE).removed == 4


def _edited(one: Checkpoint, **fields) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(one, **fields)) + b"\n"


def test_a_crash_between_announcement_and_rewriting_leaves_a_whole_log(audit, path):
    last = list(lines(path))[3].hash
    audit.append(Entry(time=NOW, event="prune", rows=4, result_hash=last))
    assert check(path).removed == 0
    prune(audit, before=NOW + 6000, now=NOW + 1, seed=KEYS.identity)
    assert check(path, signer=MINE).removed == 6


def test_two_writers_never_meet(audit, path):
    with pytest.raises(Error, match="another process writes"):
        Audit(path, now=NOW)
    prune(audit, before=NOW + 4000, now=NOW, seed=KEYS.identity)
    with pytest.raises(Error, match="another process writes"):
        Audit(path, now=NOW)


def test_retention_is_at_least_a_year_and_what_was_stated():
    old = oldest_kept(NOW, 7)
    require_old_enough(old, now=NOW, years=None, force=False)
    require_old_enough(NOW - 2 * YEAR_MS, now=NOW, years=None, force=False)
    with pytest.raises(Error, match="1 year"):
        require_old_enough(NOW - YEAR_MS // 2, now=NOW, years=None, force=False)
    with pytest.raises(Error, match="8 year"):
        require_old_enough(old, now=NOW, years=8, force=False)
    require_old_enough(NOW, now=NOW, years=8, force=True)
