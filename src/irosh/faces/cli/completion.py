"""``irosh completion``: shell completion, by click's own generator."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from irosh.faces.cli.options import Settings, common_options

VARIABLE = "_IROSH_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common_options
def completion(settings: Settings, shell: str) -> None:
    """Print the completion script for a shell.

    \b
    bash:  eval "$(irosh completion bash)"      in ~/.bashrc
    zsh:   eval "$(irosh completion zsh)"       in ~/.zshrc, after compinit
    fish:  irosh completion fish > ~/.config/fish/completions/irosh.fish
    """
    from irosh.faces.cli.main import cli

    generator = get_completion_class(shell)
    assert generator is not None  # click has one for each of the choices
    script = generator(cli, {}, "irosh", VARIABLE).source()
    settings.output.result({"shell": shell, "script": script}, script)
