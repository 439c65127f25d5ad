"""``irosh verify``: gives a host the second factors it asks for, before anything needs them."""

from __future__ import annotations

import click

from irosh.faces.cli.blocks import Blocks
from irosh.faces.cli.factor_prompt import FactorPrompt
from irosh.faces.cli.network_flags import MeetingCommand, NetworkFlags, network_flags
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.running import running_node
from irosh.faces.cli.table import printable
from irosh.faces.cli.target import read_target
from irosh.faces.cli.target_completion import complete_peer


@click.command(cls=MeetingCommand)
@click.argument("target", shell_complete=complete_peer)
@network_flags(hosting=False)
@common_options
def verify(settings: Settings, target: str, network: NetworkFlags) -> None:
    """Give a host the second factors that it asks for, for the session of the running node.

    Other commands ask when they are refused; this is for a node that runs by itself, such as one with tunnels.
    """
    answer: dict[str, object] = {}
    with running_node(settings) as client:
        client.answers = FactorPrompt(settings.output).answer
        client.request("verify", {**network.request(), "target": read_target(target, network.modes)})
        blocks = Blocks(settings.output, network.files(), stdin=True, stdout=False)
        for message in client.messages(lambda: blocks.wait(client)):
            if not blocks.handle(message):
                answer = message
    given = answer.get("given")
    what = " ".join(map(str, given)) if isinstance(given, list) and given else "nothing more was needed"
    fields = {key: value for key, value in answer.items() if key != "ok"}
    settings.output.result(fields, f"{printable(str(answer.get('peer')))}: {what}")
