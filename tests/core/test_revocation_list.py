"""Lists of revoked keys and certificates: read as ``ssh-keygen -Q`` reads them, or not at all."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.identity import Identity
from irosh.core.revocation_list import RevocationList, parse_revocation_list
from irosh.core.ssh_certificate import certificate_blob, parse_certificate
from irosh.core.ssh_wire import string
from tests.support.certificates import CertificateMaker

needs_ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")

HEADER = b"SSHKRL\n\0" + (1).to_bytes(4, "big") + bytes(24) + string(b"") + string(b"comment")
AUTHORITY = b"authority"


def section(kind: int, data: bytes) -> bytes:
    return bytes([kind]) + string(data)


def number(value: int) -> bytes:
    return value.to_bytes(8, "big")


def certificates(*sections: bytes, authority: bytes = AUTHORITY) -> bytes:
    return HEADER + section(1, string(authority) + string(b"") + b"".join(sections))


class Office:
    """A certificate authority with keys and certificates, and ssh-keygen's view of a list."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.maker = CertificateMaker(directory / "ca")
        self.other = CertificateMaker(directory / "other-ca")
        self.certificates = [
            self.maker.certificate_file(Identity.generate(), "-z", str(serial), key_id=f"id {serial}")
            for serial in (0, 1, 2, 5, 6, 7, 64, 70, 71, 1000, 2**64 - 1)
        ]
        self.certificates.append(self.other.certificate_file(Identity.generate(), "-z", "7", key_id="id 7"))
        self.keys = [path.with_name(path.name.replace("-cert", "")) for path in self.certificates]

    def make(self, specification: str, *keys: Path, options: Sequence[str] = ()) -> Path:
        """A list by ``ssh-keygen -k``, of what ``specification`` and ``keys`` say."""
        (self.directory / "spec").write_text(specification)
        path = self.directory / "krl"
        command = ["ssh-keygen", "-q", "-k", "-f", str(path), *options]
        files = [str(self.directory / "spec")] if specification else []
        subprocess.run([*command, *files, *map(str, keys)], check=True, capture_output=True)
        return path

    def agrees(self, path: Path) -> list[bool]:
        """What is revoked of all keys, then of all certificates; ssh-keygen must find the same."""
        found = parse_revocation_list(path.read_bytes())
        ours = [found.has_key(base64.b64decode(key.read_text().split()[1])) for key in self.keys]
        ours += [_revokes(found, certificate) for certificate in self.certificates]
        theirs = [
            subprocess.run(
                ["ssh-keygen", "-Q", "-f", str(path), str(each)], check=False, capture_output=True
            ).returncode
            for each in (*self.keys, *self.certificates)
        ]
        assert ours == [code != 0 for code in theirs]
        return ours


def _revokes(found: RevocationList, file: Path) -> bool:
    certificate = parse_certificate(certificate_blob(file.read_text()))
    key = string(b"ssh-ed25519") + string(certificate.public)
    return found.has_certificate(key, certificate.serial, certificate.key_id, certificate.authority)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("needs ssh-keygen")
    return Office(tmp_path_factory.mktemp("office"))


@pytest.mark.parametrize(
    ("specification", "revoked"),
    [
        ("serial: 1\nserial: 1000\n", (1, 9)),
        ("serial: 5-7\n", (3, 4, 5)),
        ("serial: 18446744073709551615\n", (10,)),
        # near each other, these are written as a bitmap
        ("".join(f"serial: {serial}\n" for serial in (1, 3, 5, 7, 9, 64, 66, 68, 70)), (1, 3, 5, 6, 7)),
        ("id: id 7\nid: id 0\nid: nobody\n", (0, 5)),
        ("serial: 1-100\nserial: 50-2000\nid: id 0\n", (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)),
    ],
)
def test_by_serial_number_or_key_id_of_one_authority(
    office: Office, specification: str, revoked: tuple[int, ...]
) -> None:
    path = office.make(specification, options=("-s", str(office.maker.public_file)))
    found = office.agrees(path)
    count = len(office.keys)
    assert [place - count for place, each in enumerate(found) if each] == list(revoked)


def test_of_any_authority(office: Office) -> None:
    found = office.agrees(office.make("serial: 7\nid: id 1\n", options=("-s", "none")))
    count = len(office.keys)
    assert [place - count for place, each in enumerate(found) if each] == [1, 5, 11]


@pytest.mark.parametrize("form", ["key", "sha1", "sha256", "hash", "explicit"])
def test_by_the_key_itself(office: Office, form: str) -> None:
    key = office.keys[3]
    line = key.read_text().strip()
    shown = subprocess.run(["ssh-keygen", "-l", "-f", str(key)], check=True, capture_output=True, text=True).stdout
    if form == "explicit":
        path = office.make("", key)
    else:
        path = office.make(f"{form}: {shown.split()[1] if form == 'hash' else line}\n")
    found = office.agrees(path)
    count = len(office.keys)
    assert [place % count for place, each in enumerate(found) if each] == [3, 3], "and its certificate"


@pytest.mark.parametrize("by_hash", [False, True])
def test_an_authority_itself(office: Office, by_hash: bool) -> None:
    line = office.maker.public_line
    path = office.make(f"sha256: {line}\n") if by_hash else office.make("", office.maker.public_file)
    found = office.agrees(path)
    assert found == [False] * len(office.keys) + [True] * (len(office.keys) - 1) + [False]


def test_an_updated_list_has_the_old_and_the_new(office: Office) -> None:
    of_authority = ("-s", str(office.maker.public_file))
    office.make("serial: 1\n", office.keys[4], options=of_authority)
    found = office.agrees(office.make("serial: 2-5\n", office.keys[5], options=("-u", *of_authority)))
    count = len(office.keys)
    assert [place for place, each in enumerate(found) if each] == [4, 5, *(count + place for place in range(1, 6))]


def test_a_file_of_plain_keys(office: Office, tmp_path: Path) -> None:
    """As sshd reads it; ssh-keygen -Q does as well."""
    path = tmp_path / "keys"
    certificate = office.certificates[2].read_text().strip()
    path.write_text(f"# lost laptops\n\n{office.keys[0].read_text()}  {certificate}\n{office.other.public_line}\n")
    found = parse_revocation_list(path.read_bytes())
    keys = [base64.b64decode(key.read_text().split()[1]) for key in office.keys]
    assert [found.has_key(key) for key in keys] == [place in (0, 2) for place in range(len(keys))]
    assert [_revokes(found, each) for each in office.certificates] == [
        place in (0, 2, len(keys) - 1) for place in range(len(keys))
    ]


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        'from="*" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==',
        "ssh-ed25519 *",
    ],
)
def test_a_line_that_is_no_key_spoils_the_file(line: str) -> None:
    good = Identity.generate().openssh_public_key("laptop")
    with pytest.raises(ValueError, match="line 2"):
        parse_revocation_list(f"{good}\n{line}\n{good}\n".encode())


def test_an_empty_list_revokes_nothing() -> None:
    for content in (b"", b"# nobody\n", HEADER):
        assert not parse_revocation_list(content).has_certificate(b"key", 7, "id", AUTHORITY)


@pytest.mark.parametrize(
    "content",
    [
        HEADER[:-1],
        HEADER.replace(b"\0\0\0\1", b"\0\0\0\2", 1),
        HEADER + b"\1",
        HEADER + section(77, b""),
        HEADER + section(4, string(b"key")) + string(b"signature"),
        HEADER + section(3, string(bytes(19))),
        HEADER + section(5, string(bytes(20))),
        HEADER + section(2, b"\0\0\0\5abc"),
        HEADER + section(255, string(b"more") + b"\1" + string(b"")),
        certificates(section(0x20, number(0))),
        certificates(section(0x20, number(7)[:-1])),
        certificates(section(0x21, number(8) + number(7))),
        certificates(section(0x21, number(7) + number(8) + b"x")),
        certificates(section(0x22, number(2**64 - 1) + string(b"\2"))),
        certificates(section(0x22, number(0) + string(b"\1"))),
        certificates(section(0x22, number(1) + string(b"\x80"))),
        certificates(section(0x22, number(1) + string(bytes(5000)))),
        certificates(section(0x39, string(b"more") + b"\1" + string(b""))),
        certificates(section(0x24, b"")),
    ],
)
def test_what_is_broken_or_unknown_is_refused_whole(content: bytes) -> None:
    with pytest.raises(ValueError):
        parse_revocation_list(content)


def test_extensions_that_need_not_be_known_are_skipped() -> None:
    extension = string(b"more") + b"\0" + string(b"data")
    content = certificates(section(0x39, extension), section(0x20, number(7))) + section(255, extension)
    assert parse_revocation_list(content).has_certificate(b"key", 7, "", AUTHORITY)


@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(0, 40)), max_size=12),
    st.lists(st.tuples(st.integers(1, 300), st.integers(0, 2**90)), max_size=4),
    st.lists(st.integers(1, 300), max_size=8),
)
def test_serial_numbers_in_any_form(
    ranges: list[tuple[int, int]], bitmaps: list[tuple[int, int]], single: list[int]
) -> None:
    """Against what they say in so many numbers."""
    sections = [section(0x21, number(low) + number(low + size)) for low, size in ranges]
    for first, bits in bitmaps:
        sections.append(section(0x22, number(first) + string(bits.to_bytes(bits.bit_length() // 8 + 1, "big"))))
    sections.append(section(0x20, b"".join(map(number, single))))
    found = parse_revocation_list(certificates(*sections))
    expected = set(single)
    for low, size in ranges:
        expected.update(range(low, low + size + 1))
    for first, bits in bitmaps:
        expected.update(first + place for place in range(bits.bit_length()) if bits >> place & 1)
    assert {serial for serial in range(400) if found.has_certificate(b"", serial, "", AUTHORITY)} == expected
    assert not any(found.has_certificate(b"", serial, "", b"another") for serial in expected)


@given(st.binary(max_size=300), st.integers(0, 200))
def test_any_bytes_are_a_list_or_an_error(data: bytes, cut: int) -> None:
    whole = certificates(section(0x20, number(7)), section(0x23, string(b"id"))) + section(2, string(b"key"))
    for content in (data, HEADER + data, whole[:cut] + data, whole[:cut] + data + whole[cut:]):
        try:
            parse_revocation_list(content)
        except ValueError:
            continue
