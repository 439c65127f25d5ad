"""``irosh config``."""

from __future__ import annotations

import tomllib
from pathlib import Path

from irosh.core.config import config_to_dict, load_config
from tests.lab.irosh_process import Irosh
from tests.lab.machine import LOCAL

EVERYTHING = """
[network]
relays = ["https://relay.example"]
bind = "127.0.0.1:4433"
nsec_file = "/somewhere/nsec"
[relay_tokens]
"https://relay.example" = "a-secret"
[host]
allow = ["shell", "forward:unix:///run/*.sock"]
invite_uses = 3
invite_expires = "90m"
authorized_keys = "/somewhere/authorized_keys"
revoked_keys = "/somewhere/revoked"
require = ["totp"]
[tunnel]
udp_idle = "5s"
[vpn]
pool = "10.7.0.0/16"
pool6 = "fd00:7::/64"
[metrics]
listen = "9464"
"""


def configured(tmp_path: Path, text: str | None) -> Irosh:
    irosh = Irosh(LOCAL, tmp_path / "state")
    config = irosh.state / "config.toml"
    if text is None:
        config.unlink()
    else:
        config.write_text(text)
        config.chmod(0o600)
    return irosh


def test_show_is_in_the_form_of_the_file(tmp_path: Path) -> None:
    irosh = configured(tmp_path, EVERYTHING)
    shown = tomllib.loads(irosh.run("config", "show").stdout.decode())
    assert shown == config_to_dict(load_config(irosh.state / "config.toml"))
    assert shown["host"]["invite_expires"] == "1h30m"
    assert irosh.call("config", "show")["config"] == shown


def test_show_hides_tokens(tmp_path: Path) -> None:
    irosh = configured(tmp_path, EVERYTHING)
    for arguments in (["config", "show"], ["config", "show", "--json"]):
        done = irosh.run(*arguments)
        assert b"relay.example" in done.stdout
        assert b"a-secret" not in done.stdout + done.stderr


def test_without_a_file_the_defaults_are_shown(tmp_path: Path) -> None:
    irosh = configured(tmp_path, None)
    text = irosh.run("config", "show").stdout.decode()
    assert "# relays is not set: iroh's public relays" in text
    (tmp_path / "again").mkdir(mode=0o700)
    (tmp_path / "again" / "config.toml").write_text(text)
    assert load_config(tmp_path / "again" / "config.toml") == load_config(tmp_path / "nothing")


def test_a_mistake_in_the_file_is_named(tmp_path: Path) -> None:
    error = configured(tmp_path, "[host]\ninvite_use = 2\n").failure("config", "show")
    assert error["code"] == "invalid-config"
    assert "host.invite_use" in error["message"]
    assert "'invite_uses'" in error["hint"]


def test_path(tmp_path: Path) -> None:
    irosh = configured(tmp_path, None)
    path = irosh.state / "config.toml"
    assert irosh.run("config", "path").stdout.decode() == f"{path}\n"
    assert irosh.call("config", "path") == {"ok": True, "path": str(path), "exists": False}
    path.touch()
    assert irosh.call("config", "path")["exists"] is True
