"""What claims need besides ports: the registers and memories inside a component, names, and components with a bug.

The claims themselves are beside this file, a unit each; proofs are run by `formal`.
"""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from amaranth.hdl import Assert, Const, Fragment, MemoryInstance, Module, Signal, Value
from amaranth.lib import wiring

__all__ = ["Inside", "claim", "planted"]


class Inside:
    """A component, elaborated, with all that is in it to be seen.

    Parameters
    ----------
    component : wiring.Component

    Attributes
    ----------
    fragment : Fragment
        To be made a submodule in place of the component, which must not be elaborated a second time.
    """

    def __init__(self, component: wiring.Component) -> None:
        self.fragment = Fragment.get(component, None)

    def register(self, path: str) -> Signal:
        """A register of the component, "name", or of one of its submodules, "submodule.name".

        Raises
        ------
        LookupError
            If there is not exactly one.
        """
        found = self._driven(path, "sync")
        if len(found) != 1:
            raise LookupError(f"{len(found)} registers {path}")
        return found[0]

    def inputs(self, path: str) -> list[Signal]:
        """All inputs of this name that the submodules of a component have.

        Raises
        ------
        LookupError
            If there is none.
        """
        found = self._driven(path, "comb")
        if not found:
            raise LookupError(f"no inputs {path}")
        return found

    def words(self, path: str) -> list[Signal]:
        """What a memory holds, a signal each word, through read ports that are added to it."""
        instance = self._at(path.split("."))
        if not isinstance(instance, MemoryInstance):
            raise LookupError(f"{path} is no memory")
        memory = instance._data
        words = [Signal(memory.shape, name=f"word_{index}") for index in range(memory.depth)]
        for index, word in enumerate(words):
            address = Const(index, (memory.depth - 1).bit_length())
            instance.read_port(domain="comb", addr=address, data=word, en=Const(1), transparent_for=())
        return words

    def _driven(self, path: str, domain: str) -> list[Signal]:
        *places, name = path.split(".")
        statements = self._at(places).statements.get(domain, ())
        driven = [signal for statement in statements for signal in statement._lhs_signals() if signal.name == name]
        return list({id(signal): signal for signal in driven}.values())

    def _at(self, places: list[str]) -> Fragment:
        fragment = self.fragment
        for place in places:
            fragment = fragment.find_subfragment(place)
        return fragment


def claim(m: Module, name: str, value: Value) -> None:
    """Assert a value; a refutation calls it by its name."""
    m.submodules[f"claim_{name}"] = part = Module()
    held = Signal()
    m.d.comb += held.eq(value.bool())
    part.d.comb += Assert(held, src_loc_at=1)


def planted(module: ModuleType, before: str, after: str, folder: Path) -> ModuleType:
    """A copy of a module, of which one place reads otherwise.

    Raises
    ------
    LookupError
        If what is to be replaced is not there exactly once.
    """
    source = Path(str(module.__file__)).read_text()
    if source.count(before) != 1:
        raise LookupError(f"{source.count(before)} times in {module.__name__}: {before}")
    path = folder / "planted.py"
    path.write_text(source.replace(before, after))
    specification = spec_from_file_location(f"planted_{module.__name__.replace('.', '_')}", path)
    assert specification
    assert specification.loader
    changed = module_from_spec(specification)
    sys.dont_write_bytecode, written = True, sys.dont_write_bytecode
    try:
        specification.loader.exec_module(changed)
    finally:
        sys.dont_write_bytecode = written
    return changed
