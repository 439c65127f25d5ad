"""The clipboard of the sandbox: each block is pasted once, where it is asked for."""

from __future__ import annotations

from tests.docs.clipboard import Clipboard, Screen


def block(kind: str, text: str) -> str:
    return f"-----BEGIN IROSH {kind}-----\n{text}\n-----END IROSH {kind}-----\n"


def asks(kind: str) -> str:
    return f"irosh: paste the other machine's {kind} here\n"


def test_an_offer_goes_there_and_an_answer_comes_back() -> None:
    clipboard = Clipboard()
    typed: dict[str, list[str]] = {"host": [], "client": []}
    host, client = Screen(typed["host"].append), Screen(typed["client"].append)
    clipboard.add(host)
    clipboard.printed(host, block("OFFER", "one") + asks("answer"))
    clipboard.add(client)
    clipboard.printed(client, asks("offer"))
    assert typed == {"host": [], "client": [block("OFFER", "one")]}
    clipboard.printed(client, block("ANSWER", "one"))
    assert typed["host"] == [block("ANSWER", "one")]
    clipboard.printed(host, block("OFFER", "two") + asks("answer"))
    assert typed["host"] == [block("ANSWER", "one")], "the next answer has not been shown yet"
    clipboard.printed(client, asks("offer"))
    assert typed["client"] == [block("OFFER", "one"), block("OFFER", "two")]


def test_a_block_that_comes_in_parts_is_whole() -> None:
    clipboard = Clipboard()
    typed: list[str] = []
    host, client = Screen(lambda _text: None), Screen(typed.append)
    clipboard.add(host)
    clipboard.add(client)
    clipboard.printed(client, asks("offer"))
    for line in block("OFFER", "one").splitlines(keepends=True):
        assert not typed
        clipboard.printed(host, line)
    assert typed == [block("OFFER", "one")]
