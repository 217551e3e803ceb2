"""An op against its peers: timed in turn, round after round, so that what else the machine does meets all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

#: Seconds a comparison may take, and the bounds of its number of rounds.
BUDGET, FEWEST, MOST = 1.5, 5, 25


@dataclass(frozen=True)
class Goal:
    """What an op should reach against a peer.

    Attributes:
        must, stretch: a number of times; None: the goal was set against another peer.
        kind: ``time``: the op takes at most this many times the peer's time. ``speed``: the op is at least this many
            times as fast.
    """

    must: float | None
    stretch: float | None = None
    kind: str = "speed"


@dataclass(frozen=True)
class Peer:
    """Something to compare with.

    Attributes:
        call: does the peer's work; returns seconds where it times a part of itself (``self_timed``). None: not
            installed here.
        goal: from the issue that set it, if any.
        slow: takes seconds: runs in two rounds only, without a warm-up.
        scale: the peer gets a part of the image, and its time is multiplied by this.
    """

    call: Callable[[], Any] | None
    goal: Goal | None = None
    slow: bool = False
    self_timed: bool = False
    scale: float = 1.0


@dataclass
class _Timings:
    peer: Peer
    seconds: dict[int, float] = field(default_factory=dict)  # by round

    def run(self, turn: int) -> float:
        begin = time.perf_counter()
        result = self.peer.call()  # type: ignore[misc]
        taken = result if self.peer.self_timed else time.perf_counter() - begin
        self.seconds[turn] = taken * self.peer.scale
        return taken


def versus(
    benchmark: BenchmarkFixture,
    op: Callable[[], Any],
    peers: Mapping[str, Peer | None],
    **record: Any,
) -> None:
    """Time ``op`` and its peers in turn and put the comparison, with ``record``, into the benchmark's JSON."""
    present = {name: _Timings(peer) for name, peer in peers.items() if peer and peer.call}
    missing = [name for name, peer in peers.items() if peer and not peer.call]
    # Warm up: pages, caches, compilers. How long it takes says how many rounds there is time for.
    op()
    begin = time.perf_counter()
    op()
    cost = time.perf_counter() - begin
    for timings in present.values():
        if not timings.peer.slow:
            timings.run(-1)
            cost += timings.run(-1)
            timings.seconds.clear()
    rounds = min(max(int(BUDGET / cost), FEWEST), MOST)
    turn = iter(range(rounds + 1))

    def run_peers() -> None:
        now = next(turn)
        order = list(present.values())
        for timings in order[now % len(order) :] + order[: now % len(order)] if order else []:
            if not (timings.peer.slow and now >= 2):
                timings.run(now)

    benchmark.pedantic(op, setup=run_peers, rounds=rounds, iterations=1)
    own = [] if benchmark.disabled else benchmark.stats.stats.data
    if own:
        summary = {name: _compare(own, timings) for name, timings in present.items()}
        benchmark.extra_info.update(
            record, ms=_milliseconds(own), rounds=len(own), peers=summary, not_installed=missing
        )


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    return {"min": 1e3 * min(seconds), "median": 1e3 * median(seconds)}


def _compare(own: list[float], timings: _Timings) -> dict[str, Any]:
    # Each round gives one ratio, of two times measured right after one another.
    ratio = median(seconds / own[turn] for turn, seconds in timings.seconds.items())
    result: dict[str, Any] = {
        "ms": _milliseconds(list(timings.seconds.values())),
        "rounds": len(timings.seconds),
        "times_as_fast": ratio,
        "scaled_by": timings.peer.scale,
    }
    if goal := timings.peer.goal:
        result["goal"] = {"must": goal.must, "stretch": goal.stretch, "kind": goal.kind}
    return result
