"""The policy file is strict; what is not enforced is refused at start."""

import pytest

from podsql.errors import Error
from podsql.policy.document import (
    POLICY_BYTES,
    PRESETS,
    load_policy,
    load_preset,
    parse_policy,
    policy_hash,
    preset_bytes,
)
from podsql.policy.enforcement import require_enforceable, unenforced

HEAD = b'version = 1\nname = "p"\n'
DAY = 24 * 3600 * 1000


def refused(data: bytes) -> Error:
    with pytest.raises(Error) as caught:
        parse_policy(data)
    assert caught.value.code == "POLICY_FILE"
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        b'allow = "false"',
        b"allow = false",
        b"[tables.t]\npublic = 'false'",
        b'[output]\ncomplement = "true"',
        b"[output]\nmin_units = inf",
        b"[limits]\nseconds = nan",
        b"[limits]\nseconds = inf",
        b"[output]\nmin_units = 0",
        b"[output]\nmin_units = 10.5",
        b"[output]\nmin_units = true",
        b"purposes = ['a']\npurposes = ['*']",
        b"[valid]\nfrom = 2026-01-01\n[valid]\nuntil = 2027-01-01",
        b"[[grant]]\nwho = 'eve'",
        b"[[tables.t]]\nrows = ['*']",
        b"version = 2",
        b"release = 'all'",
        b"[people]\nana = 'ps2abc'",
        b"[valid]\nfrom = 2026-01-02\nuntil = 2026-01-01",
        b"[tables.t.columns]\na = {}\nA = {}",
        b"[tables.t]\nrows = ['b']\n[tables.t.columns]\na = {}",
        b"[tables.T]\n[tables.t]",
        b"\xff",
    ],
)
def test_attack_76_odd_toml_is_refused(text):
    refused(HEAD + text)


def test_attack_76_a_long_dotted_key_is_refused_before_it_is_parsed():
    refused(HEAD + b".".join([b"a"] * 20_000) + b" = 1")
    refused(HEAD + b"x = {" + b" . ".join([b"a"] * 20_000) + b" = 1}")
    refused(HEAD + b"[" + b".".join([b'"a"'] * 20_000) + b"]")


def test_attack_76_a_large_file_is_refused(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_bytes(HEAD + b"#" * POLICY_BYTES)
    with pytest.raises(Error) as caught:
        load_policy(path)
    assert caught.value.code == "POLICY_FILE"


def test_an_unknown_key_names_the_nearest_known_one():
    fault = refused(HEAD + b"[output]\nmin_unit = 10")
    assert "min_unit" in fault.message
    assert fault.hint == "did you mean 'min_units'?"


def test_the_hash_ignores_comments_and_order_and_nothing_else():
    one = parse_policy(HEAD + b"purposes = ['a']\nprojects = ['b']")
    same = parse_policy(b"# note\nprojects = ['b']\npurposes = ['a']\n" + HEAD)
    other = parse_policy(HEAD + b"purposes = ['a']\nprojects = ['c']")
    assert policy_hash(one) == policy_hash(same)
    assert policy_hash(one) != policy_hash(other)


def test_the_days_of_valid_both_count():
    policy = parse_policy(HEAD + b"[valid]\nfrom = 1970-01-02\nuntil = 1970-01-03")
    assert [policy.in_force(now) for now in (DAY - 1, DAY, 3 * DAY - 1, 3 * DAY)] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_load_and_say_in_plain_words_what_they_mean(name):
    policy = load_preset(name)
    assert policy.name == name
    assert len(policy.text) > 80
    assert len(preset_bytes(name)) < POLICY_BYTES


def test_an_unknown_preset_is_refused_by_name():
    with pytest.raises(Error, match="standart") as caught:
        load_preset("standart")
    assert caught.value.hint == "did you mean 'standard'?"


@pytest.mark.parametrize("name", PRESETS)
def test_presets_of_this_version_are_enforced_in_full(name):
    assert unenforced(load_preset(name)) == ()
    require_enforceable(load_preset(name))


@pytest.mark.parametrize(
    ("text", "clause"),
    [
        (b"[output]\nquantile = 'exact'", "output.quantile 'exact'"),
        (
            b"[output]\nquantile = 'binned'\nround_base = 5",
            "output.round_base beside quantile 'binned'",
        ),
        (b"orgs = ['uni-x']", "orgs"),
        (b"allow = ['select', 'template']", "allow 'template'"),
        (
            b"release = 'sdc_merged'\n[tables.t]\nrelease = 'sdc_local'",
            "tables.t.release 'sdc_local' beside release 'sdc_merged'",
        ),
        (
            b"[tables.t]\nrelease = 'sdc_merged'\n[tables.u]",
            "tables.u.release 'sdc_local' beside release 'sdc_merged'",
        ),
        (
            b"release = 'sdc_merged'\n[output]\nround_base = 5",
            "output.round_base beside release 'sdc_merged'",
        ),
        (
            b"release = 'sdc_merged'\n[output]\nmin_units = 2",
            "output.min_units 2 beside release 'sdc_merged'",
        ),
        (b"[tables.t.columns]\na = {bin = 'day'}", "tables.t.columns.a.bin in words"),
    ],
)
def test_a_clause_that_is_not_enforced_stops_the_pod(text, clause):
    policy = parse_policy(HEAD + text)
    assert unenforced(policy) == (clause,)
    with pytest.raises(Error, match="not enforced") as caught:
        require_enforceable(policy)
    assert caught.value.code == "POLICY_FILE"
    assert clause in caught.value.message


def test_a_service_that_the_document_names_and_the_pod_would_not_ask_stops_the_pod():
    mark = "ps1" + "a" * 56
    policy = parse_policy(HEAD + f"services = ['{mark}']".encode())
    require_enforceable(policy, services=[mark])
    with pytest.raises(Error, match="does not ask"):
        require_enforceable(policy)
