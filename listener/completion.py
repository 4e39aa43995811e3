"""Completion at the shell: the scripts, and the answers to what they ask. Click knows commands, options and choices.

A shell that completes runs `listener` with VARIABLE set, and reads what it writes to standard output. The scripts of
bash and zsh are our own. Bash splits words at colons, so that of `--tracker http://host` click's script makes four; and
both replace what was typed by what the answers have in common, which of IDs that were found by a name is nonsense.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    shell_complete,
    split_arg_string,
)

PROGRAM = "listener"
VARIABLE = "_LISTENER_COMPLETE"

_BASH = """\
%(complete_func)s() {
    local type value
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(COMP_LINE=${COMP_LINE:0:COMP_POINT} %(complete_var)s=bash_complete "$1" 2>/dev/null)
}

# Before bash 4.4 there is no order but its own.
complete -o nosort -F %(complete_func)s %(prog_name)s 2>/dev/null || complete -F %(complete_func)s %(prog_name)s
"""
_ZSH = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local -a response plain described others
    local type value about typed=$PREFIX
    response=("${(@f)$(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \\
        %(complete_var)s=zsh_complete %(prog_name)s 2>/dev/null)}")

    if [[ $PREFIX == --*=* ]]; then
        compset -P '*='
        typed=${typed#*=}
    fi
    for type value about in "${response[@]}"; do
        case $type in
            dir) _path_files -/ ;;
            file) _path_files ;;
            plain) if [[ $about == _ ]]; then plain+=("$value"); else described+=("$value:$about"); fi ;;
        esac
    done
    (( $#described )) && _describe -V unsorted described -U
    (( $#plain )) && compadd -U -V unsorted -a plain

    # Several of which some do not begin with what was typed: they are listed, and it stays.
    others=(${plain:#${typed}*} ${described:#${typed}*})
    if (( $#others && $#plain + $#described > 1 )); then
        compstate[insert]=
        compstate[list]=list
    fi
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""


class _Bash(BashComplete):
    source_template = _BASH

    def source(self) -> str:
        return self.source_template % self.source_vars()

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)
        return (words[1:], "") if line[-1:].isspace() else (words[1:-1], words[-1])

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[Any]]:
        """Several of which some do not begin with what was typed are shown with what they are. The first one then keeps
        bash from replacing it by what they have in common."""
        items = super().get_completions(args, incomplete)
        if len(items) < 2 or all(item.value.startswith(incomplete.rpartition("=")[2]) for item in items):
            return items
        return [CompletionItem(f"({len(items)} are like that)"), *(_told(item) for item in items)]


class _Zsh(ZshComplete):
    source_template = _ZSH


class _Fish(FishComplete):
    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[Any]]:
        """Fish compares them with the whole word, which may be --option=value. What stands beside them counts, too:
        so it finds accounts by name."""
        items = super().get_completions(args, incomplete)
        option, equals, _ = incomplete.partition("=")
        if not (equals and option.startswith("--")):
            return items
        return [CompletionItem(f"{option}={item.value}", item.type, item.help) for item in items]


SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": _Zsh, "fish": _Fish}
for _shell in SHELLS.values():
    add_completion_class(_shell)


def script(shell: str) -> str:
    """The script that makes this shell, one of SHELLS, complete."""
    return SHELLS[shell](click.Command(PROGRAM), {}, PROGRAM, VARIABLE).source()


def answer(cli: click.Command) -> int:
    """Write the answer to what a shell asks; nothing if the command line is no good. Returns the exit code."""
    with suppress(click.ClickException):
        return shell_complete(cli, {}, PROGRAM, VARIABLE, os.environ[VARIABLE])
    return 0


def _told(item: CompletionItem[Any]) -> CompletionItem[Any]:
    return CompletionItem(f"{item.value} ({item.help})" if item.help else item.value, item.type)
