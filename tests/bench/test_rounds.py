"""Every step on all in turn, and what the rounds gave."""

from collections.abc import Mapping

from bench.rounds import Targets, in_turn, interleaved
from bench.wire import Target


def test_in_each_round_another_one_is_first() -> None:
    orders = [in_turn(["a", "b", "c"], number) for number in range(4)]
    assert orders == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]


def test_steps_alternate_and_round_0_is_not_counted() -> None:
    done = []

    def step(name: str, number: int) -> Mapping[str, float]:
        done.append((name, number))
        return {"speed": number * (10 if name == "ours" else 1)}

    figures = interleaved(["ours", "a", "b"], 2, [step])
    assert done[:4] == [("ours", 0), ("a", 0), ("b", 0), ("a", 1)]
    assert len(done) == 9
    assert figures.ours == {"speed": [10, 20]}
    assert figures.others == {"a": {"speed": [1, 2]}, "b": {"speed": [1, 2]}}
    row = figures.row("speed", "MB/s", None)
    assert (row.ours, list(row.peers)) == ([10, 20], ["a", "b"])


def test_a_step_has_the_registry_that_it_is_for() -> None:
    targets = Targets(Target("ours", 1, "r"), (Target("a", 2, "r"), Target("b", 3, "r")))
    figures = targets.measure(1, [lambda target, _: {"port": target.port}])
    assert figures.ours == {"port": [1]}
    assert figures.others == {"a": {"port": [2]}, "b": {"port": [3]}}
