"""Marked pairs: points that come back changed are found out."""

import pytest

from podsql.engine.psi.marks import LEAST_POINTS, PAIRS, require_marks, with_marks
from podsql.engine.psi.points import POINT_BYTES, hide, multiply_points, new_secret, ordered, split
from podsql.errors import Error

DOMAIN = bytes(range(32))


def sent(keys):
    secret, mark = new_secret(), new_secret()
    hidden = hide(secret, DOMAIN, [b"%d" % key for key in range(keys)])
    return mark, ordered(with_marks(secret, mark, DOMAIN, hidden, keys))


@pytest.mark.parametrize(
    ("keys", "points"),
    [(0, 256), (5, 256), (LEAST_POINTS - 2 * PAIRS, 256), (LEAST_POINTS - 2 * PAIRS + 1, 512)],
)
def test_how_many_keys_there_are_is_hidden_up_to_a_power_of_two(keys, points):
    _, whole = sent(keys)
    assert len(whole) == points * POINT_BYTES
    assert len(set(split(whole))) == points


def test_points_multiplied_alike_keep_their_marks():
    mark, whole = sent(3)
    back = multiply_points(new_secret(), whole)
    require_marks(back, multiply_points(mark, back))


def test_one_key_does_not_count_ten_times():
    mark, whole = sent(128)
    points = list(split(whole))
    secrets = [new_secret() for _ in range(10)]
    # A tenth of the points, each times ten secrets, in the place of all others.
    kept = b"".join(points[:25])
    back = b"".join(multiply_points(secret, kept) for secret in secrets)
    back += multiply_points(secrets[0], b"".join(points[25:31]))
    assert len(back) == len(whole)
    with pytest.raises(Error) as caught:
        require_marks(back, multiply_points(mark, back))
    assert caught.value.code == "BAD_MESSAGE"
