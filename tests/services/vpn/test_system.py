"""What a machine must have to carry packets, and what is said where it has not."""

from __future__ import annotations

import os
import shutil

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.vpn.name_service import name_servers
from irosh.services.vpn.system import check_able


def test_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(IroshError, match="the host does not run irosh as root") as caught:
        check_able("the host")
    assert caught.value.code is ErrorCode.VPN_UNAVAILABLE
    assert "-D" in caught.value.hint


def test_without_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "nft" else f"/sbin/{name}")
    with pytest.raises(IroshError, match="no program `nft`") as caught:
        check_able("this machine")
    assert "nftables" in caught.value.hint


def test_name_servers() -> None:
    text = "# nameserver 192.0.2.9\nsearch example\nnameserver 192.0.2.1\n nameserver fd00::1 \nnameserver nonsense\n"
    assert name_servers(text) == ["192.0.2.1", "fd00::1"]
    assert name_servers("nameserver 192.0.2.1\n" * 9) == ["192.0.2.1"] * 3
    assert name_servers("nameserver\n") == []
