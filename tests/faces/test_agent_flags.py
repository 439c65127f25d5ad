"""``-A``, ``-a``, ``--confirm-agent`` and ``-o ForwardAgent``: which of them counts."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from irosh.faces.cli.agent_flags import agent_flags, agent_request
from irosh.faces.cli.ssh_options import SSHOptions, ssh_options


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ("", None),
        ("-A", "yes"),
        ("--confirm-agent", "confirm"),
        ("-A -a", "no"),
        ("-a -A", "yes"),
        ("-A --confirm-agent", "confirm"),
        ("-oForwardAgent=yes", "yes"),
        ("-oForwardAgent=no -oForwardAgent=yes", "no"),
        ("-a -oForwardAgent=yes", "no"),
        ("-A -oforwardagent=no", "yes"),
    ],
)
def test_the_last_flag_counts_and_goes_before_the_option(options: str, chosen: str | None) -> None:
    asked = []

    @click.command()
    @agent_flags
    @ssh_options
    def command(agent: str | None, ssh: SSHOptions) -> None:
        asked.append(agent_request(agent, ssh))

    assert CliRunner().invoke(command, options.split()).exit_code == 0
    assert asked == [{"forward_agent": chosen}]


def test_another_value_is_an_error() -> None:
    @click.command()
    @ssh_options
    def command(ssh: SSHOptions) -> None:
        raise AssertionError(ssh)

    assert CliRunner().invoke(command, ["-o", "ForwardAgent=/run/agent.sock"]).exit_code == 2
