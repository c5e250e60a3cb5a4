"""The compact DRAM model against a slow one that shares no code with it.

The slow one lists bursts one by one, decodes addresses digit by digit, has banks as finite-state machines, and sends
every command at the earliest time that its bank, its channel and the one data bus allow, refresh when it is due.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from operator import itemgetter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.timing.dram import TECHNOLOGIES, BankModel, Dram, Timings, Transfer

LONG_AGO = -1e9


@dataclass
class Bank:
    page: int | None = None
    activated: float = LONG_AGO
    precharged: float = LONG_AGO
    last_data: float = LONG_AGO
    waiting: int = 0
    """Bursts of the open page that are still to be sent."""


@dataclass
class Channel:
    timings: Timings
    bursts: list[tuple[int, int]]
    """(bank, row) of each, in order."""
    window: int
    refresh_interval: float
    due: float
    banks: dict[int, Bank] = field(default_factory=dict)
    activations: list[float] = field(default_factory=list)
    sent: int = 0
    opened: int = 0
    """Bursts whose page has been open since they were looked at."""
    bus: float = 0.0

    def run(self) -> float:
        """Time of the last byte; nothing is activated before 0."""
        while self.sent < len(self.bursts):
            commands = [command for command in (self.next_data(), self.next_row()) if command]
            when, command = min(commands, key=itemgetter(0))
            if self.timings.refresh_share and when >= self.due:
                self.refresh()
            else:
                command(when)
        return self.bus

    def next_data(self):
        if self.sent == self.opened:
            return None
        bank = self.banks[self.bursts[self.sent][0]]
        return max(self.bus, bank.activated + self.timings.activate_cycles), self.data

    def next_row(self):
        """What brings the next page about, if the controller sees its burst and no other needs the bank as it is."""
        t = self.timings
        if self.opened == len(self.bursts) or self.opened - self.sent >= self.window:
            return None
        number, row = self.bursts[self.opened]
        bank = self.banks.setdefault(number, Bank())
        if bank.page == row:
            return LONG_AGO, self.hit
        if bank.page is not None:
            return None if bank.waiting else (max(bank.activated + t.active_cycles, bank.last_data), self.precharge)
        earliest = max(0.0, bank.precharged + t.precharge_cycles)
        if self.activations:
            earliest = max(earliest, self.activations[-1] + t.activate_to_activate_cycles)
        if len(self.activations) >= 4:
            earliest = max(earliest, self.activations[-4] + t.four_activates_cycles)
        return earliest, self.activate

    def data(self, when):
        bank = self.banks[self.bursts[self.sent][0]]
        self.bus = bank.last_data = when + self.timings.burst_cycles
        bank.waiting -= 1
        self.sent += 1

    def hit(self, _):
        self.banks[self.bursts[self.opened][0]].waiting += 1
        self.opened += 1

    def precharge(self, when):
        bank = self.banks[self.bursts[self.opened][0]]
        bank.page, bank.precharged = None, when

    def activate(self, when):
        number, row = self.bursts[self.opened]
        self.banks[number].page, self.banks[number].activated = row, when
        self.activations.append(when)

    def refresh(self):
        """Close every bank and refresh; what was opened and not sent must be opened anew."""
        t = self.timings
        open_banks = [bank for bank in self.banks.values() if bank.page is not None]
        closing = [max(bank.activated + t.active_cycles, bank.last_data) for bank in open_banks]
        precharged = max([self.due, self.bus, *closing]) + t.precharge_cycles * bool(open_banks)
        done = precharged + t.refresh_share * self.refresh_interval
        self.banks = {number: Bank(precharged=done - t.precharge_cycles) for number in range(t.banks)}
        self.bus, self.opened = done, self.sent
        self.due += self.refresh_interval


def reference_cycles(timings, transfer, window=1 << 30, refresh_interval=0.0, first_refresh=0.0):
    """Cycles from the first byte of a transfer to its last, the controller seeing `window` bursts of a channel."""
    if transfer.pitch_bytes == transfer.row_bytes:  # rows that touch are one: no burst is fetched for each of two
        transfer = Transfer(transfer.address, 1, transfer.size_bytes, 0)
    bursts: list[list[tuple[int, int]]] = [[] for _ in range(timings.channels)]
    for number in range(transfer.rows):
        start = transfer.address + number * transfer.pitch_bytes
        for address in range(start - start % timings.burst_bytes, start + transfer.row_bytes, timings.burst_bytes):
            line, byte = divmod(address, timings.line_bytes)
            turn, channel = divmod(line, timings.channels)
            row, bank = divmod((turn * timings.line_bytes + byte) // timings.page_bytes, timings.banks)
            bursts[channel].append((bank, row))
    ends = [Channel(timings, some, window, refresh_interval, first_refresh).run() for some in bursts if some]
    return max(ends) - timings.activate_cycles


@st.composite
def memories(draw, **fields):
    """Any technology, as its standard has it or with organisation and timing of its own."""
    technology = draw(st.sampled_from(sorted(TECHNOLOGIES)))
    channels = draw(st.sampled_from([1, 2, 3, 4, 8]))
    own = {
        "banks": st.sampled_from([1, 2, 4, 16]),
        "page_bytes": st.sampled_from([256, 512, 2048]),
        "burst_bytes": st.sampled_from([16, 64, 128]),
        "activate_ns": st.floats(0, 30),
        "precharge_ns": st.floats(0, 30),
        "active_ns": st.floats(0, 60),
        "activate_to_activate_ns": st.floats(0, 12),
        "four_activates_ns": st.floats(0, 50),
    }
    chosen = draw(st.sets(st.sampled_from(sorted(own))))
    return Dram(
        technology=technology,
        bandwidth_gb_per_second=channels * TECHNOLOGIES[technology].channel_gb_per_second,
        channels=channels,
        latency_ns=50,
        **{name: draw(own[name]) for name in sorted(chosen)},
        **fields,
    )


transfers = st.builds(
    Transfer,
    address=st.integers(0, 1 << 20),
    rows=st.integers(1, 24),
    row_bytes=st.one_of(st.integers(1, 200), st.integers(1, 6000)),
    pitch_bytes=st.one_of(st.integers(0, 4000), st.integers(0, 4096).map(lambda lines: 64 * lines)),
)


@given(dram=memories(refresh_ns=0), transfer=transfers, clock_ghz=st.sampled_from([0.5, 1.0, 1.7]))
@settings(max_examples=60)
def test_without_refresh_the_model_is_the_reference_rounded_up(dram, transfer, clock_ghz):
    model = BankModel(dram, clock_ghz)
    reference = reference_cycles(model.timings, transfer)
    assert model.service_cycles(transfer) == max(math.ceil(reference - 1e-6), 1)


@given(technology=st.sampled_from(sorted(TECHNOLOGIES)), transfer=transfers)
@settings(max_examples=40)
def test_a_controller_that_sees_64_bursts_is_no_slower_than_one_that_sees_all(technology, transfer):
    """The model lets the controller see the whole transfer; a queue of usual length suffices for that."""
    channel = TECHNOLOGIES[technology].channel_gb_per_second
    model = BankModel(
        Dram(technology=technology, bandwidth_gb_per_second=channel, latency_ns=50, refresh_ns=0), clock_ghz=1.0
    )
    assert reference_cycles(model.timings, transfer, window=64) == reference_cycles(model.timings, transfer)


@pytest.mark.parametrize("technology", TECHNOLOGIES)
@pytest.mark.parametrize(("rows", "row_bytes", "pitch_bytes"), [(1, 1 << 19, 0), (800, 256, 1 << 12), (1500, 16, 8256)])
def test_refresh_windows_take_their_share_on_the_mean(technology, rows, row_bytes, pitch_bytes):
    """A transfer meets whole refreshes or none, and each also closes the rows that were open: within two parts in 100.

    The mean is over when the first refresh is due, evenly through an interval, as transfers begin at any time.
    """
    standard = TECHNOLOGIES[technology]
    model = BankModel(
        Dram(technology=technology, bandwidth_gb_per_second=standard.channel_gb_per_second, latency_ns=50),
        clock_ghz=1.0,
    )
    transfer = Transfer(0, rows, row_bytes, pitch_bytes)
    interval = standard.refresh_interval_ns
    mean = np.mean(
        [
            reference_cycles(model.timings, transfer, 64, refresh_interval=interval, first_refresh=interval * start)
            for start in (np.arange(8) + 0.5) / 8
        ]
    )
    assert model.service_cycles(transfer) == pytest.approx(mean, rel=0.02)
