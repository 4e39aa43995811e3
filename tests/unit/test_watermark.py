"""How far everything is done, whatever is done first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from listener.watermark import Watermark


def test_it_moves_over_what_is_done_without_a_hole() -> None:
    reached: list[str] = []
    mark = Watermark(reached.append)
    first, second, third = (mark.begin(position) for position in "abc")
    mark.done(second)
    mark.pass_by("d")
    assert (reached, len(mark)) == ([], 2)
    mark.done(first)
    assert reached == ["b"]
    mark.done(third)
    assert reached == ["b", "d"]
    mark.pass_by("e")
    assert reached == ["b", "d", "e"]
    assert len(mark) == 0


@given(orders=st.integers(1, 60).flatmap(lambda count: st.permutations(range(count))))
def test_at_the_end_all_is_reached(orders: list[int]) -> None:
    reached: list[str] = []
    mark = Watermark(reached.append)
    entries = [mark.begin(str(number)) for number in range(len(orders))]
    for number in orders:
        mark.done(entries[number])
    assert reached[-1] == str(len(orders) - 1)
    assert list(map(int, reached)) == sorted(set(map(int, reached)))


class AnyOrder(RuleBasedStateMachine):
    """Against the plain account of it: a list of what is done."""

    def __init__(self) -> None:
        super().__init__()
        self.finished: list[bool] = []
        self.entries: dict[int, int] = {}
        self.reached = -1
        self.mark = Watermark(self._move)

    def _move(self, position: str) -> None:
        assert int(position) > self.reached
        self.reached = int(position)

    @rule()
    def begin(self) -> None:
        self.entries[len(self.finished)] = self.mark.begin(str(len(self.finished)))
        self.finished.append(False)

    @rule()
    def pass_by(self) -> None:
        self.finished.append(True)
        self.mark.pass_by(str(len(self.finished) - 1))

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.entries)))
        self.finished[number] = True
        self.mark.done(self.entries.pop(number))

    @invariant()
    def it_is_as_far_as_it_can_be(self) -> None:
        first_open = self.finished.index(False) if False in self.finished else len(self.finished)
        assert self.reached == first_open - 1
        assert len(self.mark) == self.finished.count(False)


TestAnyOrder = AnyOrder.TestCase
