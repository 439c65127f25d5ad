"""What relays say: read if it is right, ignored if it is not, whatever it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core import nostr_frames
from irosh.core.nostr_frames import (
    EPHEMERAL_KINDS,
    EVENT_KIND,
    MAX_CONTENT,
    MAX_FRAME,
    SUBSCRIPTION,
    Challenge,
    EventFields,
    EventMessage,
    Notice,
    Subscribed,
    Unsubscribed,
    Verdict,
    is_signalling_for,
    parse,
)

ME = "ab" * 32
EVENT: dict[str, Any] = {
    "id": "01" * 32,
    "pubkey": "02" * 32,
    "created_at": 1_800_000_000,
    "kind": EVENT_KIND,
    "tags": [["p", ME]],
    "content": "content",
    "sig": "03" * 64,
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
kinds = st.sampled_from(["EVENT", "OK", "EOSE", "CLOSED", "AUTH", "NOTICE", "COUNT", ""])


def test_what_relays_say() -> None:
    event = json.dumps(EVENT)
    assert parse(f'["EVENT","{SUBSCRIPTION}", {event} ]') == EventMessage(EventFields(**EVENT), event)
    assert parse('["OK","id",false,"blocked: no"]') == Verdict("id", False, "blocked: no")
    assert parse('["OK","id",true]') == Verdict("id", True, "")
    assert parse(f'["EOSE","{SUBSCRIPTION}"]') == Subscribed()
    assert parse(f'["CLOSED","{SUBSCRIPTION}","no"]') == Unsubscribed("no")
    assert parse('["AUTH","challenge"]') == Challenge("challenge")
    assert parse(b'["NOTICE","hello"]') == Notice("hello")


@pytest.mark.parametrize("text", ['["EOSE","other"]', '["CLOSED","other","no"]', '["EVENT","other",{}]', '["X",1]'])
def test_what_is_of_no_interest(text: str) -> None:
    assert parse(text) is None


@given(st.text(max_size=300) | st.binary(max_size=300))
def test_arbitrary_text_is_read_or_ignored(text: str | bytes) -> None:
    parse(text)


@given(kinds, st.lists(json_values, max_size=4))
def test_arbitrary_frames_are_read_or_ignored(kind: str, rest: list[object]) -> None:
    parse(json.dumps([kind, *rest]))


@given(st.sampled_from(sorted(EVENT)), json_values)
def test_events_with_a_wrong_field_are_ignored(field: str, value: object) -> None:
    message = parse(json.dumps(["EVENT", SUBSCRIPTION, EVENT | {field: value}]))
    assert message is None or isinstance(message, EventMessage)
    if isinstance(message, EventMessage):
        is_signalling_for(message.event, ME)


def test_size_and_nesting_are_bounded() -> None:
    assert parse("[" * MAX_FRAME) is None
    assert parse(json.dumps(["NOTICE", "x" * MAX_FRAME])) is None
    notice = parse(json.dumps(["NOTICE", "x" * 1000]))
    assert isinstance(notice, Notice)
    assert len(notice.text) == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": 1},
        {"tags": []},
        {"tags": [["p"]]},
        {"tags": [["p", "cd" * 32]]},
        {"tags": [["e", ME]]},
        {"tags": [["p", ME]] * 17},
        {"content": ""},
        {"content": "x" * (MAX_CONTENT + 1)},
        {"id": "01" * 31},
        {"id": "0G" * 32},
        {"pubkey": "AB" * 32},
        {"sig": "03" * 32},
    ],
)
def test_only_signalling_for_us_is_looked_at(changes: dict[str, object]) -> None:
    assert is_signalling_for(EventFields(**EVENT), ME)
    assert not is_signalling_for(EventFields(**(EVENT | changes)), ME)


def test_what_we_say() -> None:
    kind, subscription, wanted = json.loads(nostr_frames.subscribe(ME))
    assert (kind, subscription) == ("REQ", SUBSCRIPTION)
    assert (wanted["kinds"], wanted["#p"]) == ([EVENT_KIND], [ME])
    assert EVENT_KIND in EPHEMERAL_KINDS
    assert json.loads(nostr_frames.publish(json.dumps(EVENT))) == ["EVENT", EVENT]
    assert json.loads(nostr_frames.authenticate(json.dumps(EVENT))) == ["AUTH", EVENT]
