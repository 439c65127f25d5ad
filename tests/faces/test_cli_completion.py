"""``irosh completion``, and the completion itself in the real shells."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from irosh.core.identity import Identity
from irosh.core.trust import TrustStore
from tests.lab.irosh_process import PROGRAM, Irosh
from tests.lab.machine import LOCAL
from tests.lab.requirements import requires


@pytest.fixture
def irosh(tmp_path: Path) -> Irosh:
    return Irosh(LOCAL, tmp_path / "state")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(irosh: Irosh, shell: str) -> None:
    answer = irosh.call("completion", shell)
    assert answer["shell"] == shell
    assert f"_IROSH_COMPLETE={shell}_complete" in answer["script"]
    assert irosh.run("completion", shell).stdout.decode().rstrip() == answer["script"].rstrip()


def completed(*words: str, state: Path) -> set[str]:
    """What bash offers for the last of ``words``."""
    script = f"""
        PATH={shlex.quote(str(Path(PROGRAM).parent))}:$PATH
        eval "$(irosh completion bash)"
        complete -p irosh > /dev/null || exit 9
        COMP_WORDS=({shlex.join(["irosh", *words])})
        COMP_CWORD={len(words)}
        COMPREPLY=()
        _irosh_completion irosh
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = LOCAL.run("bash", "--norc", "--noprofile", "-c", script, environment={"IROSH_STATE": str(state)})
    # Outside of a real completion bash says that compopt has nothing to change.
    said = [line for line in done.stderr.decode().splitlines() if "compopt" not in line]
    assert said == []
    return set(done.stdout.decode().split())


@requires("bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["conn"], {"connect"}),
        (["con"], {"connect", "config"}),
        (["peer", "re"], {"rename", "revoke", "remove", "require"}),
        (["peer", "allow", "--re"], {"--replace"}),
        (["relay", "serve", "--tls"], {"--tls-cert", "--tls-key"}),
        (["completion", ""], {"bash", "zsh", "fish"}),
        (["--js"], {"--json"}),
        (["nonsense", "x"], set()),
    ],
)
def test_bash_completes_words(tmp_path: Path, words: list[str], offered: set[str]) -> None:
    assert completed(*words, state=tmp_path) == offered


@requires("zsh")
def test_zsh_takes_the_script(irosh: Irosh) -> None:
    script = irosh.run("completion", "zsh").stdout
    done = LOCAL.run("zsh", "-f", "-c", 'autoload -Uz compinit; compinit -D -u; eval "$(cat)"', stdin=script)
    assert done.stderr == b""


@requires("fish")
def test_fish_takes_the_script(irosh: Irosh) -> None:
    LOCAL.run("fish", "--no-execute", stdin=irosh.run("completion", "fish").stdout)


@requires("bash")
def test_names_of_peers_and_of_machines_behind_them(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    assert completed("connect", "se", state=state) == set()
    assert not list(state.iterdir()), "looking makes nothing"
    with TrustStore(state / "irosh.db") as trust:
        gateway = Identity.generate().id
        trust.pin(gateway, petname="server", origin="manual")
        trust.machines.remember(gateway, {"printer": "ssh://10.0.0.5", "server": "ssh://10.0.0.6"})
    assert completed("connect", "se", state=state) == {"server", "server/server"}
    assert completed("connect", "root@Pr", state=state) == {"root@printer"}
    assert completed("proxy", "-J", "server,p", state=state) == {"server,printer"}
    assert completed("vpn", "", state=state) == {"server"}
