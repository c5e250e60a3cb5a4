"""Proofs about queues, tokens and the issue of commands: nothing is lost, doubled or overtaken, and nothing gets stuck.

What every engine asks for and gives is free. That a program whose engines wait for each other comes to a halt is right
(and reported); proved is that nothing else does: of the commands whose tokens are all there one always goes on, a
command is denied only what is not there or was taken by an engine before it, and one that lacks nothing leaves after as
many cycles as the engine needs and one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from claims_inside import planted
from claims_streams import IssueClaims, QueueOrderClaims
from claims_tokens import TokenClaims
from formal import RefutedError, prove
from induction import prove_each, search

from isa.decoder import DECODER
from rtl import issue, streams, tokens
from rtl.issue import Issue
from rtl.streams import StreamQueue
from rtl.tokens import TokenCounters

PATIENCE_CYCLES = 4


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_what_leaves_a_queue_is_what_entered_it_in_order(depth: int) -> None:
    prove_each(QueueOrderClaims(StreamQueue(4, depth=depth), depth))


@pytest.mark.parametrize(
    ("before", "after", "claim"),
    [
        ("queue.r_en.eq(self.sink.ready)", "queue.r_en.eq(1)", "level"),
        ("self.source.ready.eq(queue.w_rdy)", "self.source.ready.eq(1)", "takes_what_it_can"),
        ("read.eq(queue.r_data)", "read.eq(queue.w_data)", "oldest_first"),
    ],
)
def test_a_queue_that_loses_or_confuses_is_refuted(before: str, after: str, claim: str, tmp_path: Path) -> None:
    queue = planted(streams, before, after, tmp_path).StreamQueue(4, depth=2)
    with pytest.raises(RefutedError, match=claim):
        search(QueueOrderClaims(queue, 2), claim, depth=4)


def test_tokens_are_conserved_and_taken_once_and_overflow_is_said() -> None:
    prove(TokenClaims(TokenCounters()), depth=1)


@pytest.mark.parametrize(
    ("before", "after", "claim"),
    [
        ("total > DECODER.most_tokens", "total > DECODER.most_tokens + 1", "overflow_is_said"),
        ("there & ~before", "there", "one_taker_0"),
        ("~(there & ~before)", "(before)", "there_0"),
        ("count - taken[number] + given", "count + given", "conserved_0"),
        ("(port.wait & ~(there & ~before)).any()", "(before | port.wait & ~there).any()", "denied_for_a_reason_1"),
        ("m.d.sync += count.eq(0)", "pass", "conserved_0"),
    ],
)
def test_a_planted_bug_of_the_counters_is_refuted(
    before: str, after: str, claim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 3  # So that all of it is near.
    module = planted(tokens, before, after, tmp_path)
    monkeypatch.setattr(module, "DECODER", replace(DECODER, most_tokens=most))
    with pytest.raises(RefutedError, match=claim):
        search(TokenClaims(module.TokenCounters(), most), claim, depth=3)


@pytest.mark.parametrize("in_flight", [1, 2, 3])
def test_commands_leave_once_and_in_order_and_in_time_and_give_when_done(in_flight: int) -> None:
    prove_each(IssueClaims(Issue(engine="array", in_flight=in_flight), "array", in_flight, PATIENCE_CYCLES))


@pytest.mark.parametrize(
    ("before", "after", "claim"),
    [
        ("tokens.granted & head.sync & self.idle", "tokens.granted & head.sync", "gives_in_order"),
        ("flights.source.payload.sync.eq(head.sync)", "flights.source.payload.sync.eq(0)", "gives_in_order"),
        (
            "self.command.valid.eq(tokens.granted & ~head.sync)",
            "self.command.valid.eq(tokens.granted)",
            "handed_over_once",
        ),
        ("oldest.sync | self.done | waiting.any()", "oldest.sync | self.done", "gives_in_order"),
        ("(oldest.sync | self.done | waiting.any())", "1", "gives_in_order"),
        ("given & ~oldest.sync", "given", "done_are_counted"),
        ("Mux(at_once, head.signal, 0)", "0", "gives_in_order"),
        ("self.queue.ready.eq(tokens.granted)", "self.queue.ready.eq(tokens.want)", "leaves_with_its_tokens"),
        ("self.command.ready & flights.source.ready", "self.command.ready", "order_0"),
        ("tokens.want.eq(self.queue.valid", "tokens.want.eq(self.queue.valid & ~head.sync", "leaves_in_time"),
    ],
)
def test_a_planted_bug_of_the_issue_is_refuted(before: str, after: str, claim: str, tmp_path: Path) -> None:
    component = planted(issue, before, after, tmp_path).Issue(engine="array", in_flight=3)
    with pytest.raises(RefutedError, match=claim):
        search(IssueClaims(component, "array", 3, PATIENCE_CYCLES), claim, depth=PATIENCE_CYCLES + 6)
