"""`listener completion`: what makes a shell complete."""

from __future__ import annotations

import click

from listener.completion import SHELLS, script


@click.command("completion")
@click.argument("shell", type=click.Choice(list(SHELLS)))
def command(shell: str) -> None:
    """Print the script that lets a shell complete commands, options, and accounts by ID or name.

    \b
    bash
      now:       source <(listener completion bash)
      for good:  echo 'source <(listener completion bash)' >> ~/.bashrc
    \b
    zsh (after compinit)
      now:       source <(listener completion zsh)
      for good:  echo 'source <(listener completion zsh)' >> ~/.zshrc
    \b
    fish
      now:       listener completion fish | source
      for good:  listener completion fish > ~/.config/fish/completions/listener.fish

    Accounts are those of the tracker that the command itself would ask: options and variables count. A name completes
    to the account's ID. If the tracker does not answer within half a second, no accounts are offered.
    """
    click.echo(script(shell), nl=False)
