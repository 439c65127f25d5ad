"""What bad offers and answers get, pasted into the program: what is wrong with each is said, and nothing is left."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from irosh.core.ice_description import IceDescription
from irosh.core.identity import Identity
from irosh.core.manual_message import encode_addresses
from irosh.core.mode import MANUAL_MODES, Mode
from irosh.core.offer_block import Answer, Offer, encode_answer, encode_offer, read_offer
from tests.lab.irosh_process import Irosh, IroshProcess
from tests.lab.machine import LOCAL
from tests.lab.processes import wait_until
from tests.support.open_files import udp_ports

ALONE = ("--no-stun", "--no-relay")
STRANGER = Identity.from_secret(bytes(range(32)))
modes = pytest.mark.parametrize("mode", sorted(MANUAL_MODES))


@contextmanager
def fed(irosh: Irosh, *arguments: str) -> Iterator[IroshProcess]:
    """A command whose standard input is :func:`paste`."""
    with irosh.start(*arguments, stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            assert process.process.stdin is not None
            process.process.stdin.close()


def paste(process: IroshProcess, text: str) -> None:
    assert process.process.stdin is not None
    process.process.stdin.write(text.encode() + b"\n")
    process.process.stdin.flush()


def refused(process: IroshProcess, text: str) -> str:
    """Code and message of what is said about a pasted text."""
    paste(process, text)
    error: dict[str, Any] = process.wait_event("block-refused")["error"]
    return f"{error['code']}: {error['message']}"


def garbled(block: str) -> str:
    """With one character changed in its middle."""
    middle = len(block) // 2
    return block[:middle] + ("A" if block[middle] != "A" else "B") + block[middle + 1 :]


def truncated(block: str) -> str:
    """Without one of its lines."""
    lines = block.strip().splitlines()
    return "\n".join([*lines[:2], *lines[3:]])


def body(mode: str, identity: Identity) -> bytes:
    """What an honest peer would say of itself, at an address where nobody is."""
    if mode == Mode.IROH_MANUAL:
        return encode_addresses(["127.0.0.1:9"])
    candidate = "1 1 udp 2130706431 127.0.0.1 9 typ host"
    return IceDescription(identity.id, "ufrag", "p" * 24, (candidate,)).encode()


def offer_by(identity: Identity, mode: str, *, expires_in: float = 600.0) -> Offer:
    return Offer(mode, identity.id, int(time.time() + expires_in), body(mode, identity))


def answer_to(offer: Offer, identity: Identity, *, mode: str = "") -> str:
    mode = mode or offer.mode
    fields = Answer(mode, identity.id, offer.expires_at, body(mode, identity), offer.digest, offer.sender)
    return encode_answer(fields, identity)


@modes
def test_a_host_says_what_is_wrong_with_answers(mode: Mode, tmp_path: Path) -> None:
    host = Irosh(LOCAL, tmp_path / "host")
    with fed(host, "host", f"--mode={mode}", *ALONE) as hosting:
        block = str(hosting.wait_event("block", kind="offer")["block"])
        offer = read_offer(block, mode=mode, own=STRANGER.id, now=time.time())
        good = answer_to(offer, STRANGER)
        # What it opens to read what is pasted is open from the first one on.
        assert refused(hosting, "nothing of the kind\n-----END IROSH ANSWER-----").startswith("invalid-block")
        ports, descriptors = udp_ports(hosting.pid), hosting.descriptors()
        another = Offer(mode, offer.sender, offer.expires_at, offer.body)
        other_mode = next(str(each) for each in MANUAL_MODES if each is not mode)
        for text, said in (
            (garbled(good), "invalid-block: the ANSWER block is garbled"),
            (truncated(good), "invalid-block: the ANSWER block is cut short"),
            (block, "block-mismatch: this is this machine's own OFFER"),
            (encode_offer(offer_by(STRANGER, mode), STRANGER), "block-mismatch: this is an OFFER"),
            (answer_to(another, STRANGER), "block-mismatch: this answers an earlier offer"),
            (answer_to(offer_by(STRANGER, mode), Identity.generate()), "block-mismatch: this answers another host's"),
            (answer_to(offer, STRANGER, mode=other_mode), "block-mismatch: the ANSWER block is of mode"),
        ):
            assert refused(hosting, text).startswith(said)
        wait_until(lambda: hosting.descriptors() <= descriptors, what="nothing is left of bad answers")
        wait_until(lambda: len(udp_ports(hosting.pid)) <= len(ports), what="no port is left of bad answers")
        # The offer is good still.
        client = Irosh(LOCAL, tmp_path / "client")
        with fed(client, "connect", f"--mode={mode}", *ALONE, "--name=box", "-", "echo through; sleep 100") as process:
            paste(process, block)
            if mode is Mode.CUSTOM:
                answer = str(process.wait_event("block", kind="answer")["block"])
                paste(hosting, answer)
            process.wait_event("stdout", data="through\n")
            if mode is Mode.CUSTOM:
                # Replayed: it was for an offer that has been used up.
                hosting.wait_event("block", kind="offer")
                assert refused(hosting, answer).startswith("block-mismatch: this answers an earlier offer")
            process.stop()
        wait_until(lambda: len(udp_ports(hosting.pid)) <= len(ports), what="the session's port is free")


@modes
def test_a_client_says_what_is_wrong_with_offers_and_ends_with_its_input(mode: Mode, tmp_path: Path) -> None:
    client = Irosh(LOCAL, tmp_path / "client")
    good = encode_offer(offer_by(STRANGER, mode), STRANGER)
    other_mode = next(str(each) for each in MANUAL_MODES if each is not mode)
    foreign = Identity.generate()
    client.call("peer", "add", foreign.id, "--name=box")
    with fed(client, "connect", f"--mode={mode}", *ALONE, "box", "true") as process:
        process.wait_event("paste", kind="offer")
        for text, said in (
            (garbled(good), "invalid-block: the OFFER block is garbled"),
            (truncated(good), "invalid-block: the OFFER block is cut short"),
            (good, "identity-mismatch: the OFFER block is from"),
            (encode_offer(offer_by(foreign, mode, expires_in=-600), foreign), "block-expired: "),
            (encode_offer(offer_by(foreign, other_mode), foreign), "block-mismatch: the OFFER block is of mode"),
            (answer_to(offer_by(foreign, mode), STRANGER), "block-mismatch: this is an ANSWER"),
        ):
            assert refused(process, text).startswith(said)
        assert process.process.stdin is not None
        process.process.stdin.close()
        assert process.wait_failure(10)["code"] == "usage"


def test_an_answer_of_which_nothing_comes_is_told_where_it_was_pasted(tmp_path: Path) -> None:
    host = Irosh(LOCAL, tmp_path / "host")
    with fed(host, "host", "--mode=iroh-manual", *ALONE) as hosting:
        block = str(hosting.wait_event("block", kind="offer")["block"])
        offer = read_offer(block, mode=Mode.IROH_MANUAL, own=STRANGER.id, now=time.time())
        began = time.monotonic()
        said = refused(hosting, answer_to(offer, STRANGER))
        assert said.startswith("no-path: no connection with")
        assert time.monotonic() - began < 40
