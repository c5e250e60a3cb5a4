"""Pieces of runs of bytes come out as the words of the place where the runs go."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from amaranth.lib import data
from compiled import Stream, compile_component

from rtl.packer import BytePacker, piece_layout, word_layout

BUS = 8
COMPONENT = BytePacker(bus_bytes=BUS)


@dataclass(frozen=True)
class Run:
    """Bytes in pieces, and where in a word the first of them goes."""

    start: int
    pieces: tuple[bytes, ...]

    @property
    def payloads(self) -> list[int]:
        """What goes in: each piece somewhere in its word, among garbage."""
        layout, payloads = piece_layout(BUS), list[int]()
        for number, piece in enumerate(self.pieces):
            first = random.randrange(BUS - len(piece) + 1)
            garbage = bytearray(random.randbytes(BUS))
            garbage[first : first + len(piece)] = piece
            fields = {
                "data": int.from_bytes(garbage, "little"),
                "first": first,
                "final": first + len(piece) - 1,
                "last": number == len(self.pieces) - 1,
                "start": random.randrange(BUS) if number else self.start,
            }
            payloads.append(packed(layout, fields))
        return payloads

    @property
    def words(self) -> list[tuple[dict[int, int], bool]]:
        """What comes out: the bytes of each word by their places, and whether it is the last."""
        bytes_at = dict(enumerate(b"".join(self.pieces), self.start))
        count = max(bytes_at) // BUS + 1
        return [
            ({at % BUS: byte for at, byte in bytes_at.items() if at // BUS == word}, word == count - 1)
            for word in range(count)
        ]


def packed(layout: data.StructLayout, fields: dict[str, int]) -> int:
    """Bits of a payload."""
    return sum(value << layout[name].offset for name, value in fields.items())


def seen(payload: int) -> tuple[dict[int, int], bool]:
    """A word that came out, as `Run.words` has it."""
    layout = word_layout(BUS)
    word = (payload & ((1 << 8 * BUS) - 1)).to_bytes(BUS, "little")
    mask = payload >> layout["mask"].offset
    return {at: word[at] for at in range(BUS) if mask >> at & 1}, bool(payload >> layout["last"].offset & 1)


def some_run() -> Run:
    whole = random.random() < 0.3
    sizes = [BUS if whole else random.randrange(1, BUS + 1) for _ in range(random.choice([1, 1, 2, 3, 20]))]
    return Run(random.choice([0, 0, BUS - 1, random.randrange(BUS)]), tuple(random.randbytes(size) for size in sizes))


@pytest.mark.parametrize("paces", [(1.0, 1.0), (0.5, 1.0), (1.0, 0.5), (0.3, 0.3), (0.9, 0.1)])
def test_every_byte_comes_out_at_its_place_once(paces: tuple[float, float]) -> None:
    random.seed(3)
    runs = [some_run() for _ in range(2000)]
    expected = [word for run in runs for word in run.words]
    pieces = [payload for run in runs for payload in run.payloads]
    with compile_component(COMPONENT).simulation() as simulation:
        _, words = simulation.exchange(
            Stream("pieces", pieces, paces[0]), Stream("words", len(expected), paces[1]), seed=5
        )
    assert [seen(payload) for payload in words.payloads] == expected


def test_a_piece_is_taken_every_cycle_but_for_one_after_each_rest() -> None:
    random.seed(4)
    runs = [some_run() for _ in range(500)]
    pieces, words = sum(len(run.pieces) for run in runs), sum(len(run.words) for run in runs)
    # A rest: a last piece that reaches into one word more.
    rests = sum((run.start + sum(map(len, run.pieces[:-1]))) % BUS + len(run.pieces[-1]) > BUS for run in runs)
    with compile_component(COMPONENT).simulation() as simulation:
        taken, given = simulation.exchange(
            Stream("pieces", [payload for run in runs for payload in run.payloads]), Stream("words", words)
        )
    assert 0 < rests < len(runs)
    assert taken.cycles[0] == 0
    # A word comes a cycle after the piece that completes it, the rest of the last piece a cycle after that.
    assert given.cycles[-1] == pieces + rests


def test_a_reset_in_the_middle_of_a_run_leaves_nothing_of_it() -> None:
    random.seed(5)
    with compile_component(COMPONENT).simulation() as simulation:
        for _ in range(50):
            started, run = some_run(), some_run()
            simulation.exchange(
                Stream("pieces", started.payloads), Stream("words", 100), cycles=random.randrange(1, 12)
            )
            simulation["pieces__valid"] = 0
            simulation.reset()
            words = simulation.exchange(Stream("pieces", run.payloads), Stream("words", len(run.words)))[1]
            assert [seen(payload) for payload in words.payloads] == run.words


@pytest.mark.parametrize("bus_bytes", [0, 1, 12])
def test_other_widths_than_powers_of_two_are_refused(bus_bytes: int) -> None:
    with pytest.raises(ValueError, match=f"bus_bytes is {bus_bytes}, must be a power of two"):
        BytePacker(bus_bytes=bus_bytes)
