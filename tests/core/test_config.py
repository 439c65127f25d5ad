"""The configuration file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from irosh.core.capability import DEFAULT_INVITE_CAPABILITIES
from irosh.core.config import Config, config_to_dict, load_config
from irosh.core.errors import ErrorCode, IroshError

FULL = """
[network]
relays = ["https://relay.example", "http://192.0.2.1:3340/"]
bind = "[::]:4433"
stun_servers = ["STUN.example"]
turn_servers = ["me:pass@turn.example"]
nostr_relays = ["ws://127.0.0.1:7777/"]
nsec_file = "/home/me/nsec"
max_sessions = 0
mdns = false

[relay_tokens]
"https://relay.example" = "s3cret"

[host]
allow = ["shell", "forward:tcp://DB.internal.:5432"]
invite_uses = 3
invite_expires = "1h30m"
authorized_keys = "/home/me/keys"
revoked_keys = "/home/me/revoked"
require = ["totp", "password"]
factor_attempts = 3
factor_lifetime = "0s"

[tunnel]
udp_idle = "90"

[vpn]
pool = "10.7.0.0/16"
pool6 = "fd00:7::/64"
keep = "20s"

[session]
keepalive = "5s"
dead_after = "12s"
resume = "0s"
replay_buffer = "1MiB"
paths = "all"
"""

Load = Callable[[str], Config]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


@pytest.fixture
def load(path: Path) -> Load:
    def write_and_load(text: str, mode: int = 0o600) -> Config:
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return load_config(path)

    return write_and_load


def test_no_file_means_the_defaults(path: Path, load: Load) -> None:
    config = load_config(path)
    assert config == Config() == load("") == load("[network]\n[host]\n")
    assert config.network.relays is None
    assert config.network.bind == "0.0.0.0:0"
    assert config.host.allow == DEFAULT_INVITE_CAPABILITIES
    assert (config.host.invite_uses, config.host.invite_expires) == (1, 3600)
    assert config.tunnel.udp_idle == 60
    assert config.relay_token("https://relay.example") is None


def test_everything_set(load: Load) -> None:
    config = load(FULL)
    assert config.network.relays == ("https://relay.example", "http://192.0.2.1:3340/")
    assert config.network.bind == "[::]:4433"
    assert config.host.allow == ("shell", "forward:tcp://db.internal:5432")
    assert (config.host.invite_uses, config.host.invite_expires) == (3, 5400)
    assert config.tunnel.udp_idle == 90
    for url in ("https://relay.example", "https://relay.example/", "https://Relay.Example"):
        assert config.relay_token(url) == "s3cret"
    assert config.relay_token("https://relay.example.evil") is None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("9464", "127.0.0.1:9464"),
        (":9464", "127.0.0.1:9464"),
        ("0.0.0.0:0", "0.0.0.0:0"),
        ("[::1]:9464", "[::1]:9464"),
        ("Box.Example:9464", "box.example:9464"),
    ],
)
def test_where_metrics_are_served(load: Load, text: str, meant: str) -> None:
    assert load(f"[metrics]\nlisten = '{text}'").metrics.listen == meant


def test_no_relays_is_not_the_default_relays(load: Load) -> None:
    assert load("[network]\nrelays = []").network.relays == ()


def test_shown_without_secrets(load: Load) -> None:
    config = load(FULL)
    shown = config_to_dict(config)
    assert shown == {
        "network": {
            "relays": ["https://relay.example", "http://192.0.2.1:3340/"],
            "bind": "[::]:4433",
            "stun_servers": ["stun.example:3478"],
            "turn_servers": ["me:***@turn.example:3478"],
            "nostr_relays": ["ws://127.0.0.1:7777"],
            "nsec_file": "/home/me/nsec",
            "max_sessions": 0,
            "mdns": False,
        },
        "relay_tokens": {"https://relay.example": "***"},
        "host": {
            "allow": ["shell", "forward:tcp://db.internal:5432"],
            "invite_uses": 3,
            "invite_expires": "1h30m",
            "authorized_keys": "/home/me/keys",
            "revoked_keys": "/home/me/revoked",
            "require": ["password", "totp"],
            "factor_attempts": 3,
            "factor_lifetime": "0s",
        },
        "tunnel": {"udp_idle": "1m30s"},
        "vpn": {"pool": "10.7.0.0/16", "pool6": "fd00:7::/64", "keep": "20s"},
        "session": {
            "keepalive": "5s",
            "dead_after": "12s",
            "resume": "0s",
            "replay_buffer": "1MiB",
            "paths": "all",
        },
        "metrics": {"listen": None},
    }
    assert "s3cret" not in json.dumps(shown)
    assert "s3cret" not in repr(config)
    assert json.dumps(config_to_dict(Config()))


@pytest.mark.parametrize(
    ("text", "at_fault", "hint"),
    [
        ("[netwrok]\nbind = '0.0.0.0:0'", "netwrok: there is no such key", "did you mean 'network'?"),
        ("bind = '0.0.0.0:0'", "bind: there is no such key", "known: network, relay_tokens, host, tunnel"),
        ("[network]\nrelay = []", "network.relay: there is no such key", "did you mean 'relays'?"),
        ("[host]\ninvite_use = 1", "host.invite_use: there is", "did you mean 'invite_uses'?"),
        ('[host]\n"a b\\u001b" = 1', 'host."a b\\x1b"', ""),
        ("[metrics]\nlisten = 9464", "metrics.listen: expected an address as text", ""),
        ("[metrics]\nlisten = 'nowhere'", "metrics.listen: port 'nowhere' is not a number", "1 to 65535"),
        ("network = 3", "network: expected a table, [network], found a number", ""),
        ("[network]\nrelays = 'https://a'", "network.relays: expected a list of URLs, found text", ""),
        ("[network]\nrelays = ['https://a', 1]", "network.relays: expected a URL as text, found a number", ""),
        ("[network]\nrelays = ['ftp://a']", "network.relays: 'ftp://a'", "https://relay.example"),
        ("[network]\nbind = 4433", "network.bind: expected an address as text", ""),
        ("[network]\nbind = '0.0.0.0'", "network.bind: there is no port", ""),
        ("[network]\nbind = 'localhost:0'", "network.bind: 'localhost' is not an IP address", "0.0.0.0:PORT"),
        ("[network]\nbind = '0.0.0.0:65536'", "network.bind: port 65536", ""),
        ("[relay_tokens]\n'relay.example' = 's3cret'", "relay_tokens.\"relay.example\": 'relay.example'", ""),
        ("[relay_tokens]\n'https://a' = 5", 'relay_tokens."https://a": expected a token as text', ""),
        ("[relay_tokens]\n'https://a' = 's3cret\\r\\nX: y'", 'relay_tokens."https://a": the token', ""),
        ("[host]\nallow = 'shell'", "host.allow: expected a list of capabilities, found text", ""),
        ("[host]\nallow = ['shel']", "host.allow: capability 'shel'", "did you mean 'shell'?"),
        ("[host]\ninvite_uses = true", "host.invite_uses: expected a whole number, found true or false", ""),
        ("[host]\ninvite_uses = 1.0", "host.invite_uses: expected a whole number, found a number", ""),
        ("[host]\ninvite_uses = 0", "host.invite_uses: 0 is too small", "at least 1"),
        ("[host]\ninvite_expires = 3600", "host.invite_expires: expected a duration as text", ""),
        ("[host]\ninvite_expires = 1979-05-27", 'expected a duration as text, like "90s" or "1h", found a date', ""),
        ("[host]\ninvite_expires = '1 hour'", "host.invite_expires: '1 hour' is not a duration", "1h30m"),
        ("[tunnel]\nudp_idle = '0s'", "tunnel.udp_idle: duration '0s'", ""),
        ("[vpn]\npool = '10.7.0.1/16'", "vpn.pool: '10.7.0.1/16' is no IPv4 network", "write it like"),
        ("[vpn]\npool = '10.0.0.0/8'", "vpn.pool: '10.0.0.0/8' is no network for clients", "between /16 and /30"),
        ("[vpn]\npool = 'fd00::/64'", "vpn.pool: 'fd00::/64' is no IPv4 network", ""),
        ("[vpn]\npool6 = 'fe80::/64'", "vpn.pool6: 'fe80::/64' is no network for clients", ""),
        ("[vpn]\npool6 = 7", "vpn.pool6: expected a network, found a number", ""),
        ("[tunnel]\nidle = '1s'", "tunnel.idle: there is", "did you mean 'udp_idle'?"),
        ("[session]\ndead_after = '2s'", "session.dead_after: it has to be longer than keepalive, 15s", "twice"),
        ("[tunnel\n", "not valid TOML", "toml.io"),
        ("a = 1\na = 2", "not valid TOML", ""),
        ("a = " + "[" * 100_000, "not valid TOML", ""),
        ("a = " + "9" * 10_000, "not valid TOML", ""),
        ("#" * 2_000_000, "larger than", ""),
    ],
)
def test_errors_name_the_file_the_key_and_what_was_expected(
    path: Path, load: Load, text: str, at_fault: str, hint: str
) -> None:
    with pytest.raises(IroshError) as caught:
        load(text)
    assert caught.value.code == ErrorCode.INVALID_CONFIG
    assert str(path) in caught.value.message
    assert at_fault in caught.value.message
    assert hint in caught.value.hint
    assert "s3cret" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602])
def test_tokens_in_a_file_that_others_can_read_are_refused(path: Path, mode: int) -> None:
    path.write_text(FULL)
    path.chmod(mode)
    with pytest.raises(IroshError) as caught:
        load_config(path)
    assert caught.value.code == ErrorCode.INVALID_CONFIG
    assert f"chmod 600 {path}" in caught.value.hint
    assert "s3cret" not in str(caught.value)


def test_without_tokens_others_may_read_it(path: Path) -> None:
    path.write_text("[host]\ninvite_uses = 2\n[relay_tokens]\n")
    path.chmod(0o644)
    assert load_config(path).host.invite_uses == 2


def test_what_cannot_be_read(path: Path) -> None:
    path.write_bytes(b"[host]\n# \xff\n")
    with pytest.raises(IroshError, match="line 2: not UTF-8"):
        load_config(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(IroshError, match="not a regular file"):
        load_config(path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(IroshError, match="not a regular file"):
        load_config(path)
    with pytest.raises(IroshError, match="cannot read"):
        load_config(path / "below-a-file.toml")


values = st.recursive(
    st.one_of(st.booleans(), st.integers(-5, 5), st.floats(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
keys = st.sampled_from(["relays", "bind", "allow", "invite_uses", "invite_expires", "udp_idle", "https://a", "x"])
tables = st.sampled_from(["network", "relay_tokens", "host", "tunnel", "other"])


def toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, bool | str):
        return json.dumps(value)
    return str(value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(tables, st.dictionaries(keys, values, max_size=3), max_size=3), st.text(max_size=20))
def test_any_file_is_a_configuration_or_an_error(path: Path, content: dict[str, dict[str, object]], tail: str) -> None:
    lines = []
    for table, entries in content.items():
        lines += [f"[{table}]", *(f"{json.dumps(key)} = {toml(value)}" for key, value in entries.items())]
    for text in ("\n".join(lines), tail):
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        path.chmod(0o600)
        try:
            config = load_config(path)
        except IroshError as error:
            assert error.code == ErrorCode.INVALID_CONFIG
        else:
            assert json.dumps(config_to_dict(config))
