"""The pages leave nothing out and name nothing that does not exist."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping

import click
import pytest

from irosh.core.capability import DEFAULT_INVITE_CAPABILITIES, KINDS
from irosh.core.config import Config, config_to_dict
from irosh.core.errors import ErrorCode
from irosh.faces.cli.main import cli
from tests.docs.markdown import PAGES, ROOT, Page, read_page
from tests.docs.transcript import steps_of

ALL = {page.name: page for page in map(read_page, PAGES)}
SOURCE = ROOT / "src" / "irosh"
COMMON = {"--state", "--json", "--verbose", "--help"}
COMMON_PAGE = "docs/configuration.md"

_ROW = re.compile(r"^\| (`[^|]+`) \|", re.MULTILINE)
_FILE = re.compile(r"[\w./-]+(?:\.(?:py|toml|sh)|/)(?!\w)")
_INDENTED = re.compile(r"^ {4}(\S.*)", re.MULTILINE)
_OPTION = re.compile(r"(?<=[ \[])--?[A-Za-z][\w-]*")
# What is behind this belongs to the remote command.
_CONNECT = re.compile(r"irosh (?:-\S+ )*connect (?:-\S+ )*\S+(?: -\S+)*")


def _commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands that can be run, with their words."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        yield from _commands(child, (*path, name))


COMMANDS: Mapping[tuple[str, ...], click.Command] = dict(_commands(cli, ("irosh",)))


def _options(command: click.Command) -> set[str]:
    return {name for each in command.params if isinstance(each, click.Option) for name in each.opts} | {"-h", "--help"}


def _code(page: Page) -> str:
    """All that stands on a page as code."""
    blocks = [line for block in page.blocks for line in block.lines]
    return "\n".join([*page.spans(), *_INDENTED.findall(page.prose), *blocks])


def _rows(page: Page) -> list[str]:
    """The code spans in the first column of a page's tables."""
    return [span for cell in _ROW.findall(page.prose) for span in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_is_explained_with_all_its_options(words: tuple[str, ...]) -> None:
    name = " ".join(words)
    pages = [_code(page) for page in ALL.values() if re.search(rf"\b{name}\b", _code(page))]
    assert pages, f"no page mentions `{name}`"
    own = _options(COMMANDS[words]) - COMMON - {"-v", "-h"}
    missing = {option for option in own if not any(re.search(rf"(?<![\w-]){option}\b", page) for page in pages)}
    assert not missing, f"the pages that mention `{name}` leave out {sorted(missing)}"


def test_the_options_of_every_command_are_explained() -> None:
    code = _code(ALL[COMMON_PAGE])
    assert not [option for option in COMMON if option not in code]


def _written_commands() -> Iterator[tuple[str, str]]:
    """Whatever on a page looks like a command line of irosh."""
    for page in ALL.values():
        written = [*page.spans(), *_INDENTED.findall(page.prose), *(step.command for step in steps_of(page))]
        for text in written:
            if text.startswith("irosh "):
                yield page.name, text


def test_every_command_on_the_pages_exists() -> None:
    wrong: list[str] = []
    for page, text in _written_commands():
        words = tuple(_OPTION.sub("", text).split())
        known = [path for path in COMMANDS if path[: len(words)] == words[: len(path)]]
        if not known:
            wrong.append(f"{page}: {text}")
            continue
        allowed = COMMON.union(*(_options(COMMANDS[path]) for path in known))
        remote = _CONNECT.match(text)
        used = remote[0] if remote else text
        wrong += [f"{page}: {text}: {option}" for option in set(_OPTION.findall(used)) - allowed]
    assert not wrong


def test_every_error_code_is_explained_and_no_other() -> None:
    assert sorted(_rows(ALL["docs/errors.md"])) == sorted(ErrorCode)


def test_every_configuration_key_is_explained_and_no_other() -> None:
    known = set()
    for section, values in config_to_dict(Config()).items():
        assert isinstance(values, dict)
        known |= {f"{section}.{key}" for key in values} or {section}
    keys = [row for row in _rows(ALL["docs/configuration.md"]) if re.fullmatch(r"[a-z_]+(\.[a-z0-9_]+)?", row)]
    sections = tuple(f"{key.partition('.')[0]}" for key in known)
    assert sorted(key for key in keys if key.startswith(sections)) == sorted(known)


def test_every_variable_of_the_environment_is_explained() -> None:
    sources = (path.read_text() for path in SOURCE.rglob("*.py"))
    variables = {name for source in sources for name in re.findall(r'"(IROSH_[A-Z_]+)"', source)}
    assert "IROSH_STATE" in variables
    code = "\n".join(map(_code, ALL.values()))
    assert not [name for name in variables if not re.search(rf"\b{name}\b", code)]


def test_the_capabilities_are_explained() -> None:
    code = _code(ALL["docs/peers.md"])
    assert not [kind for kind in KINDS if not re.search(rf"(?<![\w-]){kind}\b", code)]
    assert not [capability for capability in DEFAULT_INVITE_CAPABILITIES if capability not in code]


@pytest.mark.parametrize("page", [*ALL.values(), read_page(ROOT / "CHANGELOG.md")], ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Page) -> None:
    broken = []
    for link in page.links():
        if link.startswith(("https://", "http://")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.path.parent / file).resolve() if file else page.path
        if not target.exists() or (anchor and anchor not in read_page(target).anchors()):
            broken.append(link)
    assert not broken


def test_every_page_is_reached_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in ALL["README.md"].links()}
    assert not [name for name in ALL if name.startswith("docs/") and name not in linked]


def test_the_architecture_names_files_that_exist() -> None:
    page = ALL["docs/architecture.md"]
    named = {name for text in [*page.spans(), *page.blocks[1].lines] for name in _FILE.findall(text) if "/" in name}
    assert len(named) > 40
    assert not [name for name in named if not (SOURCE / name).exists() and not (ROOT / name).exists()]


def test_the_architecture_knows_every_folder() -> None:
    text = _code(ALL["docs/architecture.md"])
    folders = {path.parent.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")} - {"."}
    assert not [folder for folder in sorted(folders) if f"{folder}/" not in text]


def test_the_architecture_has_the_layers_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    diagram = ALL["docs/architecture.md"].blocks[0]
    shown = [line.split()[0] for line in diagram.lines if line and not line.startswith(" ")]
    assert [f"irosh.{name}" for name in shown] == layers
