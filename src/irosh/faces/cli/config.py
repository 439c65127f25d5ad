"""``irosh config``: the configuration as irosh understands it, and where it is."""

from __future__ import annotations

import json
from collections.abc import Mapping

import click

from irosh.core.config import config_to_dict, load_config
from irosh.core.state import StateDirectory
from irosh.faces.cli.options import Settings, common_options


@click.group()
def config() -> None:
    """Show the configuration, or where it is."""


@config.command()
@common_options
def show(settings: Settings) -> None:
    """Show what is configured, defaults included, in the form of the file. Tokens are not shown."""
    found = config_to_dict(load_config(StateDirectory(settings.state_path).config_path))
    settings.output.result({"config": found}, _as_toml(found))


@config.command()
@common_options
def path(settings: Settings) -> None:
    """Print where the configuration file is, or would be."""
    file = StateDirectory(settings.state_path).config_path
    settings.output.result({"path": str(file), "exists": file.exists()}, str(file))


def _as_toml(tables: Mapping[str, object]) -> str:
    blocks = []
    for name, values in tables.items():
        if isinstance(values, Mapping) and values:
            blocks.append("\n".join([f"[{name}]", *(_assignment(str(key), value) for key, value in values.items())]))
    return "\n\n".join(blocks)


def _assignment(key: str, value: object) -> str:
    name = key if key.replace("_", "").isalnum() and key.isascii() else _basic_string(key)
    if value is None:  # TOML has no null; an absent key means the default
        return f"# {name} is not set: iroh's public relays" if key == "relays" else f"# {name} is not set"
    return f"{name} = {_value(value)}"


def _value(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    return _basic_string(value) if isinstance(value, str) else json.dumps(value)


def _basic_string(text: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of its own."""
    return json.dumps(text)
