"""Reading ``federation.toml``: strictly, from the right place, with the right way out."""

import os

import pytest

from podsql.errors import Error
from podsql.membership import (
    FederationSection,
    MembershipFile,
    MeSection,
    RelaySection,
    egress_of,
    find_membership,
    key_text,
    load_membership,
    membership_text,
    proxy_egress,
    read_membership_file,
    toml_text,
)
from podsql.relay.keys import PeerKeys, fingerprint, generate_signing, save_keys, signing_public

FEDERATION = fingerprint(signing_public(generate_signing()))
KEY = key_text(os.urandom(32))


def file(**relay) -> MembershipFile:
    section = {"endpoint": "tls://relay.example:443", "key": KEY, **relay}
    return MembershipFile(
        federation=FederationSection(name="clinics", fingerprint=FEDERATION),
        relay=RelaySection(**section),
        me=MeSection(name="ana", role="analyst"),
    )


def write(home, text=None, **relay):
    home.mkdir(exist_ok=True)
    save_keys(home / "keys.json", PeerKeys.generate())
    path = home / "federation.toml"
    path.write_text(text if text is not None else membership_text(file(**relay)))
    return path


def refused(call, *arguments, **named) -> Error:
    with pytest.raises(Error) as caught:
        call(*arguments, **named)
    return caught.value


def test_what_is_written_is_read_back(tmp_path):
    path = write(tmp_path / "a", proxy='us"er\\:p w@proxy:3128', ca="ca.pem")
    assert read_membership_file(path) == file(proxy='us"er\\:p w@proxy:3128', ca="ca.pem")
    membership = load_membership(path, environ={})
    assert membership.name == "ana"
    assert membership.store.current is None
    assert membership.egress.ca == (tmp_path / "a" / "ca.pem").resolve()


def test_secrets_stay_out_of_reprs(tmp_path):
    membership = load_membership(write(tmp_path / "a"), environ={})
    shown = repr(membership)
    for secret in (membership.keys.identity, membership.keys.noise, membership.keys.curve):
        assert repr(secret) not in shown


def test_the_file_is_looked_for_in_the_documented_order(tmp_path, monkeypatch):
    here, user, named = (write(tmp_path / name) for name in ("here", "user", "named"))
    config = tmp_path / "home" / ".config" / "podsql"
    config.mkdir(parents=True)
    os.replace(user, config / "federation.toml")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(here.parent)
    env = {"PODSQL_FEDERATION": str(named)}
    assert find_membership(here.parent, env) == here
    assert find_membership(None, env) == named
    assert find_membership(None, {}).resolve() == here
    here.unlink()
    assert find_membership(None, {}) == config / "federation.toml"
    (config / "federation.toml").unlink()
    assert refused(find_membership, None, {}).code == "CONFIG"


def test_a_path_that_was_named_is_never_replaced_by_another(tmp_path, monkeypatch):
    monkeypatch.chdir(write(tmp_path / "here").parent)
    assert refused(find_membership, tmp_path / "missing.toml", {}).code == "CONFIG"
    assert refused(find_membership, None, {"PODSQL_FEDERATION": "missing"}).code == "CONFIG"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("endpoint", "endpont"),
        lambda text: text + "\n[extra]\nx = 1\n",
        lambda text: text.replace("tls://relay.example:443", "http://relay.example"),
        lambda text: text.replace("tls://relay.example:443", "tcp://relay.example"),
        lambda text: text.replace("tls://relay.example:443", "tcp://a:1/../x"),
        lambda text: text.replace(KEY, KEY[:-4]),
        lambda text: text.replace('"ana"', "7"),
        lambda text: text + '\n[me]\nname = "bob"\nrole = "pod"\n',
        lambda text: text + "x" * 70_000,
        lambda text: text + "\na" + ".a" * 20_000 + " = 1\n",
        lambda text: "",
    ],
)
def test_attack_76_a_wrong_file_is_refused_with_a_hint(tmp_path, spoil):
    """attack 76: hostile or broken TOML."""
    path = write(tmp_path / "a", spoil(membership_text(file())))
    assert refused(read_membership_file, path).code == "CONFIG"


def test_a_mistyped_fingerprint_is_refused(tmp_path):
    spoiled = FEDERATION[:-1] + ("a" if FEDERATION[-1] != "a" else "b")
    path = write(tmp_path / "a", membership_text(file()).replace(FEDERATION, spoiled))
    assert refused(read_membership_file, path).code == "ARGUMENT"


def test_an_unknown_key_names_the_nearest(tmp_path):
    path = write(tmp_path / "a", membership_text(file()).replace("endpoint", "endpont"))
    assert "fingerprint" not in (hint := refused(read_membership_file, path).hint)
    assert "endpoint" in hint


def test_attack_78_readable_keys_are_refused(tmp_path):
    """attack 78: a key file that others may read."""
    path = write(tmp_path / "a")
    (tmp_path / "a" / "keys.json").chmod(0o640)
    assert refused(load_membership, path, environ={}).code == "KEY_FILE"


def test_the_way_out_prefers_the_explicit(tmp_path):
    section = file(proxy="filed:1").relay
    usual = {"https_proxy": "http://usual:3"}
    assert egress_of(section, tmp_path, {**usual, "PODSQL_PROXY": "named:2"}).proxy == "named:2"
    assert egress_of(section, tmp_path, usual).proxy == "filed:1"
    assert egress_of(file().relay, tmp_path, usual).proxy == "usual:3"
    assert egress_of(section, tmp_path, {"PODSQL_PROXY": "direct"}).proxy is None
    plain = file(endpoint="tcp://relay.example:5555").relay
    assert egress_of(plain, tmp_path, usual).proxy is None
    for listed in ("*", "relay.example", ".example", "x, example"):
        assert egress_of(file().relay, tmp_path, {**usual, "no_proxy": listed}).proxy is None
    assert egress_of(file().relay, tmp_path, {**usual, "no_proxy": "y.example"}).proxy == "usual:3"


def test_proxies_are_read_with_their_logins():
    socks = proxy_egress("socks5://me:p%40ss@gate:1080")
    assert (socks.socks, socks.socks_user, socks.socks_password) == ("gate:1080", "me", "p@ss")
    assert proxy_egress("http://me:p%40ss@gate:3128").proxy == "me:p@ss@gate:3128"
    for wrong in ("gate", "ftp://gate:1", "http://gate:port", "http://:80"):
        assert refused(proxy_egress, wrong).code == "PROXY"


def test_toml_of_awkward_texts_reads_back():
    import tomli

    values = {"a": "\x7f\x00\n\"'\\", "b": ["ü", "\u2028"], "c": True, "d": 1.5}
    assert tomli.loads(toml_text({"s": values}))["s"] == values
