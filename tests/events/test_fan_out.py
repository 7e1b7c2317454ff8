"""Whatever happens in whatever order, a follower is given each event once, and none is left out."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from tests.events.values import recorded
from treescale.events.fan_out import QUEUE_MAX, FanOut, Follower
from treescale.metadata.events.recorded import Place, Recorded
from treescale.metadata.records import Repository


def everything(event: Recorded, _: Repository | None) -> Recorded | None:
    return event


def odd(event: Recorded, _: Repository | None) -> Recorded | None:
    return event if event.sequence % 2 else None


@dataclass
class World:
    """A log, its reading, and followers who read on by themselves when they have to."""

    log: list[Recorded] = field(default_factory=list)
    fan_out: FanOut = field(default_factory=FanOut)
    followers: list[Follower] = field(default_factory=list)
    given: list[list[int]] = field(default_factory=list)
    from_: list[int] = field(default_factory=list)

    def happen(self, count: int) -> None:
        for _ in range(count):
            self.log.append(recorded(len(self.log) + 1))

    def publish(self) -> None:
        new = [one for one in self.log if one.sequence > self.fan_out.place.sequence]
        if len(self.fan_out):
            self.fan_out.publish((one, None) for one in new)

    def join(self, after: int) -> None:
        after = min(after, len(self.log))
        self.followers.append(Follower((everything, odd)[len(self.followers) % 2], Place(after)))
        self.given.append([])
        self.from_.append(after)

    def read(self, number: int) -> None:
        """Take what waits; if behind, read a page of the log, and be level at its end."""
        if not self.followers:
            return
        number %= len(self.followers)
        follower, given = self.followers[number], self.given[number]
        given += [one.sequence for one in follower.take()]
        if not follower.behind:
            return
        level = self.fan_out.place
        page = [one for one in self.log if one.sequence > follower.place.sequence][:100]
        for one in page:
            if follower.select(one, None) is not None:
                given.append(one.sequence)
            follower.place = one.place
        if len(page) < 100:
            follower.place = max(follower.place, level)
        follower.taken = follower.place
        if len(page) < 100:
            self.fan_out.attach(follower)


STEPS = st.one_of(
    st.tuples(st.just("happen"), st.sampled_from([1, 3, QUEUE_MAX, QUEUE_MAX + 40])),
    st.tuples(st.just("publish"), st.just(0)),
    st.tuples(st.just("join"), st.integers(0, 900)),
    st.tuples(st.just("read"), st.integers(0, 5)),
    st.tuples(st.just("leave"), st.integers(0, 5)),
)


@given(st.lists(STEPS, max_size=40))
def test_each_event_once_and_none_left_out(steps: list[tuple[str, int]]) -> None:
    world = World()
    for step, number in steps:
        if step == "publish":
            world.publish()
        elif step == "leave" and world.followers:
            gone = world.followers[number % len(world.followers)]
            world.fan_out.detach(gone)
            gone.place, gone.behind = gone.taken, True
            gone.waiting.clear()
        elif step != "leave":
            getattr(world, step)(number)
        assert all(len(each.waiting) <= QUEUE_MAX for each in world.followers)
    for _ in range(30):
        world.publish()
        for number in range(len(world.followers)):
            world.read(number)
    for follower, given_, after in zip(world.followers, world.given, world.from_, strict=True):
        wanted = [
            one.sequence
            for one in world.log
            if one.sequence > after and follower.select(one, None) is not None
        ]
        assert given_ == wanted


def test_one_that_does_not_read_is_let_go_of() -> None:
    fan_out = FanOut()
    slow, quick = Follower(everything, Place(0)), Follower(everything, Place(0))
    assert fan_out.attach(slow)
    assert fan_out.attach(quick)
    for sequence in range(1, QUEUE_MAX + 2):
        woken = fan_out.publish([(recorded(sequence), None)])
        assert quick.take()
        assert woken
    assert slow.behind
    assert not slow.waiting
    assert slow.place == slow.taken == Place(0)
    assert len(fan_out) == 1
    assert not fan_out.attach(slow), "it has to read on first"


def test_what_is_not_shown_wakes_nobody() -> None:
    fan_out = FanOut()
    follower = Follower(odd, Place(0))
    fan_out.attach(follower)
    assert fan_out.publish([(recorded(2), None)]) == []
    assert follower.taken.sequence == 2
    assert fan_out.publish([(recorded(3), None)]) == [follower]
