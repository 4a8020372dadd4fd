"""The ledger file under races, crashes, edits, restored backups and a clock set back."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest

from podsql.errors import Error
from podsql.policy.ledger.cost import NOTHING, Cap, epsilon_of, zcdp_cost
from podsql.policy.ledger.overlap import Overlaps
from podsql.policy.ledger.store import DAY_MS, Ledger

NOW = 1_770_000_000_000
UNIT = zcdp_cost(Fraction(1, 100))


def times(count):
    return Cap(tuple(count * spent for spent in UNIT.renyi), 0)


def name(number):
    return number.to_bytes(16, "big")


def fill(ledger, count, scope="d", start=0):
    for number in range(start, start + count):
        ledger.charge(name(number), name(number), {scope: times(10**6)}, UNIT, now=NOW)


@pytest.fixture
def ledger(tmp_path):
    found = Ledger(tmp_path / "ledger.sqlite", witness=tmp_path / "elsewhere")
    yield found
    found.close()


def test_a_budget_is_used_to_the_last_unit(ledger):
    for number in range(50):
        assert (
            ledger.charge(name(number), name(number), {"d": times(50)}, UNIT, now=NOW) == "charged"
        )
    with pytest.raises(Error) as caught:
        ledger.charge(name(50), name(50), {"d": times(50)}, UNIT, now=NOW)
    assert caught.value.code == "BUDGET"
    assert len(ledger.charges()) == 50


def test_of_two_scopes_neither_is_charged_if_one_is_used_up(ledger):
    ledger.charge(name(1), name(1), {"full": times(1)}, UNIT, now=NOW)
    with pytest.raises(Error):
        ledger.charge(name(2), name(2), {"free": times(9), "full": times(1)}, UNIT, now=NOW)
    assert ledger.spent("free") == NOTHING
    assert len(ledger.charges()) == 1


def test_a_released_answer_is_given_again_for_nothing(ledger):
    ledger.charge(b"same", name(1), {"d": times(1)}, UNIT, now=NOW)
    ledger.keep_answer(b"same", b"noisy")
    assert ledger.charge(b"same", name(2), {"d": times(1)}, UNIT, now=NOW) == "replayed"
    assert ledger.answer(b"same") == b"noisy"
    ledger.keep_answer(b"same", b"other")
    assert ledger.answer(b"same") == b"noisy"
    assert len(ledger.charges()) == 1


RACER = """
import sys
from pathlib import Path
from podsql.errors import Error
from podsql.policy.ledger.store import Ledger
from podsql.policy.ledger.cost import Cap, zcdp_cost
from fractions import Fraction
unit = zcdp_cost(Fraction(1, 100))
ledger = Ledger(Path(sys.argv[1]))
cap = Cap(tuple(50 * s for s in unit.renyi), 0)
granted = 0
for number in range(60):
    mark = f"{sys.argv[2]}-{number}".encode()
    try:
        ledger.charge(mark, mark, {"d": cap}, unit, now=1)
        granted += 1
    except Error as fault:
        assert fault.code == "BUDGET", fault
print(granted)
"""


def test_six_racing_processes_never_overspend(tmp_path):
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, str(path), str(n)], stdout=subprocess.PIPE)
        for n in range(6)
    ]
    granted = [int(racer.communicate(timeout=120)[0]) for racer in racers]
    assert all(racer.returncode == 0 for racer in racers)
    assert sum(granted) == 50
    assert len(Ledger(path).charges()) == 50


def test_threads_share_one_ledger(ledger):
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda n: ledger.charge(name(n), name(n), {"d": times(99)}, UNIT, now=NOW),
                range(40),
            )
        )
    assert ledger.head()[0] == 40
    ledger.verify()


VICTIM = """
import os, signal, sys
from fractions import Fraction
from pathlib import Path
from podsql.policy.ledger.store import Ledger
from podsql.policy.ledger.cost import Cap, zcdp_cost
unit = zcdp_cost(Fraction(1, 100))
ledger = Ledger(Path(sys.argv[1]), witness=Path(sys.argv[2]))
ledger.charge(b"f" * 16, b"r" * 16, {"d": Cap(tuple(9 * s for s in unit.renyi), 0)}, unit, now=1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_charge_survives_kill_9_and_its_request_is_not_taken_again(tmp_path):
    path, witness = tmp_path / "ledger.sqlite", tmp_path / "witness"
    done = subprocess.run([sys.executable, "-c", VICTIM, str(path), str(witness)], check=False)
    assert done.returncode == -signal.SIGKILL
    ledger = Ledger(path, witness=witness)
    assert ledger.spent("d") == UNIT
    assert ledger.answer(b"f" * 16) is None
    with pytest.raises(Error) as caught:
        ledger.charge(b"f" * 16, b"r" * 16, {"d": times(9)}, UNIT, now=NOW)
    assert caught.value.code == "EXPIRED_RESULT"
    # Asked anew, it is charged anew: the first noise may have been seen.
    ledger.charge(b"f" * 16, b"q" * 16, {"d": times(9)}, UNIT, now=NOW)
    assert ledger.spent("d") == UNIT + UNIT


def test_a_restored_backup_is_refused(tmp_path):
    path, witness = tmp_path / "ledger.sqlite", tmp_path / "witness"
    ledger = Ledger(path, witness=witness)
    fill(ledger, 3)
    ledger.close()
    shutil.copy(path, tmp_path / "backup")
    ledger = Ledger(path, witness=witness)
    fill(ledger, 2, start=3)
    ledger.close()
    for file in tmp_path.glob("ledger.sqlite*"):
        file.unlink()
    shutil.copy(tmp_path / "backup", path)
    with pytest.raises(Error, match="older than its witness") as caught:
        Ledger(path, witness=witness)
    assert caught.value.code == "LEDGER"
    path.unlink()
    with pytest.raises(Error, match="older than its witness"):
        Ledger(path, witness=witness)


def test_a_lost_witness_needs_the_custodians_word(tmp_path):
    path, witness = tmp_path / "ledger.sqlite", tmp_path / "witness"
    ledger = Ledger(path, witness=witness)
    fill(ledger, 1)
    ledger.close()
    witness.unlink()
    with pytest.raises(Error, match="no witness"):
        Ledger(path, witness=witness)
    Ledger(path, witness=witness, adopt=True).close()
    assert witness.exists()
    witness.write_bytes(b"garbage")
    with pytest.raises(Error, match="cannot be read"):
        Ledger(path, witness=witness)


def test_a_witness_that_lags_by_a_crash_is_fine(tmp_path):
    path, witness = tmp_path / "ledger.sqlite", tmp_path / "witness"
    ledger = Ledger(path, witness=witness)
    fill(ledger, 1)
    before = witness.read_bytes()
    fill(ledger, 1, start=1)
    ledger.close()
    witness.write_bytes(before)
    assert Ledger(path, witness=witness).head()[0] == 2


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE spent SET cost = (SELECT cost FROM spent WHERE scope = 'e')",
        "DELETE FROM charge WHERE number = 2",
        "DELETE FROM charge WHERE number = 3",
        "UPDATE charge SET body = (SELECT body FROM charge WHERE number = 1) WHERE number = 2",
        "UPDATE charge SET request = x'00' WHERE number = 2",
        "UPDATE charge SET chain = zeroblob(32) WHERE number = 3",
        "DELETE FROM spent WHERE scope = 'd'",
    ],
)
def test_an_edited_row_is_noticed(tmp_path, edit):
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    fill(ledger, 2)
    fill(ledger, 1, scope="e", start=2)
    ledger.close()
    db = sqlite3.connect(path)
    db.execute(edit)
    db.commit()
    db.close()
    with pytest.raises(Error, match="was edited") as caught:
        Ledger(path)
    assert caught.value.code == "LEDGER"


def test_garbage_is_no_ledger(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"not a database, but long enough to be looked at" * 40)
    with pytest.raises(Error) as caught:
        Ledger(path)
    assert caught.value.code == "LEDGER"


def test_a_clock_set_back_revives_nothing(tmp_path):
    ledger = Ledger(tmp_path / "l")
    later = NOW + 5 * DAY_MS
    assert ledger.moment(later) == later
    assert ledger.moment(NOW) == later
    assert ledger.take("q", 1, now=later, per_day=1)
    assert not ledger.take("q", 1, now=NOW, per_day=1)
    ledger.close()
    ledger = Ledger(tmp_path / "l")
    assert ledger.moment(NOW) == later
    assert ledger.take("q", 1, now=later + DAY_MS, per_day=1)


def test_a_reset_is_an_act_in_the_chain(ledger):
    fill(ledger, 2)
    ledger.reset("d", now=NOW, note="new consent round, minutes of 3 May")
    assert ledger.spent("d") == NOTHING
    fill(ledger, 1, start=9)
    ledger.verify()
    assert [line.kind for line in ledger.charges()] == ["charge", "charge", "reset", "charge"]
    assert ledger.charges()[2].note.startswith("new consent")


def test_quotas_count_by_day_and_for_ever(ledger):
    assert ledger.take("p", 3, now=NOW, per_day=4, total=5)
    assert not ledger.take("p", 2, now=NOW, per_day=4, total=5)
    assert ledger.take("p", 1, now=NOW, per_day=4, total=5)
    assert not ledger.take("p", 2, now=NOW + DAY_MS, per_day=4, total=5)
    assert ledger.take("p", 1, now=NOW + DAY_MS, per_day=4, total=5)
    assert ledger.take("other", 4, now=NOW, per_day=4, total=5)


def test_the_file_is_for_its_owner_only(ledger, tmp_path):
    assert os.stat(tmp_path / "ledger.sqlite").st_mode & 0o777 == 0o600


def test_what_was_spent_is_told_in_epsilon(ledger):
    fill(ledger, 2)
    assert 0 < epsilon_of(ledger.scopes()["d"], 1e-6) < 1.3


def admitted(overlaps, cells, least=10, scope="p"):
    return overlaps.admit(scope, [[{(unit, 0) for unit in cell}] for cell in cells], least)


def test_cells_that_differ_by_few_units_are_refused(ledger):
    overlaps = Overlaps(ledger, os.urandom(32))
    assert admitted(overlaps, [range(100)]) == [True]
    assert admitted(overlaps, [range(99)]) == [False]
    assert admitted(overlaps, [range(100)]) == [True]
    assert admitted(overlaps, [range(90)]) == [True]
    assert admitted(overlaps, [range(95)]) == [False]
    assert admitted(overlaps, [range(200, 300), range(205, 305)]) == [True, True]
    assert admitted(overlaps, [range(400, 500), range(401, 500)]) == [True, False]
    assert admitted(overlaps, [range(99)], scope="other project") == [True]


def test_overlaps_survive_a_restart_and_are_sealed(tmp_path):
    key = os.urandom(32)
    big = [2**63 + n for n in range(50)]
    ledger = Ledger(tmp_path / "l")
    assert admitted(Overlaps(ledger, key), [big]) == [True]
    ledger.close()
    ledger = Ledger(tmp_path / "l")
    assert admitted(Overlaps(ledger, key), [big[1:]]) == [False]
    with pytest.raises(Error) as caught:
        admitted(Overlaps(ledger, os.urandom(32)), [big])
    assert caught.value.code == "LEDGER"
    ledger.close()
    bitmap = (2**50 - 1).to_bytes(7, "little")
    assert all(bitmap not in file.read_bytes() for file in Path(tmp_path).iterdir())


def test_other_rows_of_few_units_are_a_small_difference_too(ledger):
    overlaps = Overlaps(ledger, os.urandom(32))

    def admitted_rows(rows):
        return overlaps.admit("p", [[set(rows)]], 10)

    every = [(unit, row) for unit in range(50) for row in range(8)]
    assert admitted_rows(every) == [True]
    # The same fifty people, less one row of one of them, or all rows but one of nine of them.
    assert admitted_rows(every[1:]) == [False]
    assert admitted_rows([m for m in every if m[0] >= 9 or m[1] == 0]) == [False]
    assert admitted_rows([m for m in every if m[1] > 0]) == [True]
    assert admitted_rows([(unit, row + 100) for unit, row in every]) == [True]


def test_a_failed_comparison_is_not_remembered(ledger):
    overlaps = Overlaps(ledger, os.urandom(32))
    with pytest.raises(TypeError):
        overlaps.admit("p", [[{(1, 2), (3, None)}]], 10)
    assert admitted(overlaps, [range(100)]) == [True]
    assert admitted(overlaps, [range(99)]) == [False]
