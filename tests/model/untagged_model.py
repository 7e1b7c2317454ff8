#!/usr/bin/env python3
"""A model of the rule `untagged`, searched whole: images that nothing holds, and who builds on them.

    python3 -m tests.model.untagged_model          all scenarios (the rules hold) and all controls
    python3 -m tests.model.untagged_model NAME     one of them, with the shortest trace that breaks it
Three manifests of one repository: an image, an index that has it as a child, and a referrer whose
subject it is. A deletion by the rule is to links, blobs and chunks what any deletion is, which
`collection_model` has at any moment: so only manifests are here. A day is two ticks, an hour one.

A manifest is (there, mark, lease, tag, told, pulled):
  there   0: live; 1 and more: deleted for so long; NONE: not there, or purged
  mark    since when nothing holds it, by the look that has seen it; NONE: not marked
  lease   what is left of `lease_until`
  tag     whether a tag points at it
  told    what is left of the promise to who pushes and heard that it is there
  pulled  what is left of the promise to who pulls it by its digest
A state is (manifests, look: how long ago it began, or NONE, halves of steps that row locks make whole).
"""

import sys

from tests.model.collection_model import NONE, Model, put

IMAGE, INDEX, REFERRER = range(3)
NAMES = ("the image", "the index", "the referrer")
NOT_THERE = (NONE, NONE, 0, 0, 0, 0)

RULES = dict(  # the design; each control changes one of them
    DAY=2, LOOK=1, UNDELETE=1,
    UNTAGGED=2,  # the setting
    grace=True,  # what is marked stays while its lease runs, and a day at least
    renew=True,  # who is told of what is marked renews its lease and its mark
    fresh=True,  # a look that took long marks nothing more
    margin=True,  # what is marked stays longer by what a mark may be older than its transaction
    clears=True,  # a push of what refers to it takes the mark back
    row_locks=True,  # the rule, and the push of an index, hold the rows before they look
    referrer_told=False,  # HEAD of what is said of an image promises nothing: it goes with the image
    deleted_holds=True,  # an index that can be restored holds its children
)


class Untagged(Model):
    """The rule, and all that happens beside it."""

    def __init__(self, groups, sizes, rules):
        self.__dict__.update(RULES | sizes | rules)
        self.on = set(groups.split())
        self.LINK = 2 * self.DAY
        self.over_at = max(self.UNTAGGED, self.DAY + self.LOOK * self.margin if self.grace else 0)
        self.pull = max(self.DAY, self.UNTAGGED - self.DAY)  # noted once a day

    def start(self):
        """An image that somebody pushed long ago, with a tag."""
        return ((0, NONE, 0, 1, 0, 0), NOT_THERE, NOT_THERE), NONE, ()

    # Who holds what

    def is_held(self, ms, m):
        """Say whether something holds it, as the look asks."""
        there, mark, *_ = ms[INDEX]
        by_index = m == IMAGE and there != NONE and (mark == NONE or (there > 0 and self.deleted_holds))
        return bool(ms[m][3]) or by_index or (m == REFERRER and ms[IMAGE][0] != NONE)

    def is_over(self, one):
        """Say whether its time is over."""
        return one[0] == 0 and one[1] >= self.over_at and not (self.grace and one[2])

    def is_free(self, ms, m):
        """Say whether nothing holds it, not even what is marked."""
        by_index = m == IMAGE and ms[INDEX][0] != NONE and (self.deleted_holds or ms[INDEX][0] == 0)
        return not ms[m][3] and not by_index and not (m == REFERRER and ms[IMAGE][0] != NONE)

    # What happens

    def steps(self, st):
        ms, look, halves = st
        for m in (IMAGE, *(INDEX,) * ("index" in self.on), *(REFERRER,) * ("refer" in self.on)):
            yield from self.pushes(st, m)
            if ms[m][0] == 0:
                yield from self.clients(st, m)
            if 0 < ms[m][0] <= self.UNDELETE:
                yield f"{NAMES[m]} is restored", (self.restored(ms, m), look, halves)
            part = m == IMAGE and ms[INDEX][0] != NONE
            if ms[m][0] > self.UNDELETE and not part:
                yield f"{NAMES[m]} is purged", (put(ms, m, NOT_THERE), look, halves)
            yield from self.looks(st, m)
            yield from self.rule(st, m)
        yield ("a look begins", (ms, 0, halves)) if look == NONE else ("a look ends", (ms, NONE, halves))
        yield "a tick passes", self.tick(st)

    def pushes(self, st, m):
        ms, look, halves = st
        child, half = ms[IMAGE][0] == 0, ("index",)
        if m == INDEX and not self.row_locks and child and half not in halves:
            yield "the push of the index finds the image", (ms, look, (*halves, half))
        if m == INDEX and not (child if self.row_locks else half in halves):
            return
        for tag in (0, 1) if m != REFERRER and "tag" in self.on else (0,):
            told = self.DAY if m != REFERRER or self.referrer_told else 0
            pushed = put(ms, m, (0, NONE, self.LINK, ms[m][3] | tag, told, ms[m][5]))
            if m != IMAGE and self.clears:
                pushed = put(pushed, IMAGE, put(pushed[IMAGE], 1, NONE))
            yield f"{NAMES[m]} is pushed{' with a tag' * tag}", (pushed, look, tuple(x for x in halves if x != half))

    def clients(self, st, m):
        ms, look, halves = st
        _, mark, lease, tag, told, pulled = ms[m]
        renews = self.renew and mark != NONE and lease <= self.DAY
        kept = (0, 0, self.LINK) if renews else (0, mark, lease)
        if m != REFERRER or self.referrer_told:
            yield f"HEAD of {NAMES[m]} says 200", (put(ms, m, (*kept, tag, self.DAY, pulled)), look, halves)
        if m == IMAGE and "pull" in self.on:
            yield "the image is pulled by its digest", (put(ms, m, (*kept, tag, told, self.pull)), look, halves)
        if tag:
            yield f"the tag of {NAMES[m]} goes", (put(ms, m, put(ms[m], 3, 0)), look, halves)
        if m != IMAGE or (ms[INDEX][0] != 0 and not halves):  # else somebody breaks the index
            yield f"a client deletes {NAMES[m]}", (self.deleted(ms, m), look, halves)

    def looks(self, st, m):
        ms, look, halves = st
        held, (there, mark, *_) = self.is_held(ms, m), ms[m]
        may = there == 0 and mark == NONE and look != NONE and (look <= self.LOOK or not self.fresh)
        if may and not held:
            yield f"the look marks {NAMES[m]}", (put(ms, m, put(ms[m], 1, look)), look, halves)
        if there == 0 and mark != NONE and held and look != NONE:
            yield f"the look takes back the mark of {NAMES[m]}", (put(ms, m, put(ms[m], 1, NONE)), look, halves)

    def rule(self, st, m):
        ms, look, halves = st
        due, half = self.is_over(ms[m]) and self.is_free(ms, m), ("rule", m)
        if ms[m][0] == 0 and (due if self.row_locks else half in halves):
            with_it = m == INDEX and self.is_over(ms[IMAGE]) and not ms[IMAGE][3]
            after = self.deleted(ms, m, by_rule=True)
            after = self.deleted(after, IMAGE, by_rule=True) if with_it else after
            words = f"the rule deletes {NAMES[m]}" + " and the image" * with_it
            yield words, (after, look, tuple(x for x in halves if x != half))
        elif due and not self.row_locks:
            yield f"the rule finds {NAMES[m]} due", (ms, look, (*halves, half))

    def deleted(self, ms, m, by_rule=False):
        """Delete it, with what is said of it; who deletes by hand takes back what was promised."""
        for each in (m, *((REFERRER,) if m == IMAGE and ms[REFERRER][0] == 0 else ())):
            there, mark, lease, *rest = ms[each]
            ms = put(ms, each, (1, mark, lease, *(rest if by_rule else (0, 0, 0))))
        return ms

    def restored(self, ms, m):
        """Bring it back, an index with its child and an image with what is said of it."""
        also = {INDEX: (IMAGE,), IMAGE: (REFERRER,), REFERRER: ()}[m]
        for each in (m, *(x for x in also if ms[x][0] > 0)):
            ms = put(ms, each, (0, NONE, self.LINK, *ms[each][3:]))
        return ms

    def tick(self, st):
        up = lambda n, most: n if n == NONE else min(n + 1, most)  # noqa: E731
        ms, look, halves = st
        passed = tuple(
            (there if there <= 0 else up(there, self.UNDELETE + 1), up(mark, self.over_at),
             max(lease - 1, 0), tag, max(told - 1, 0), max(pulled - 1, 0))
            for there, mark, lease, tag, told, pulled in ms)
        return passed, up(look, max(self.LOOK + 1, self.over_at)), halves

    def broken(self, st):
        """Return what is broken of what was promised, or None."""
        ms = st[0]
        for m, (there, _, _, tag, told, pulled) in enumerate(ms):
            if there != 0:
                if told:
                    return f"{NAMES[m]} is gone, and somebody was told less than a day ago that it is there"
                if pulled:
                    return f"{NAMES[m]} is gone, and somebody pulls it by its digest"
                if tag:
                    return f"{NAMES[m]} is gone, and has a tag"
        if ms[INDEX][0] == 0 and ms[IMAGE][0] != 0:
            return "the index is there, and its image is not"
        if 0 < ms[INDEX][0] <= self.UNDELETE and ms[IMAGE][0] == NONE:
            return "the index can be restored, and its image is purged"


SCENARIOS = {  # name: (what happens, sizes)
    "index": ("index", {}),
    "referrer": ("refer", {}),
    "pulls": ("index pull", dict(UNTAGGED=5)),
    "tags": ("index tag", dict(UNTAGGED=3)),
    "index and referrer": ("index refer", {}),
    "large: all": ("index tag pull refer", dict(UNTAGGED=4)),  # only when asked for
}
CONTROLS = {  # name: (scenario, what is changed); "holds: …" are not needed
    "no grace of a day": ("index", dict(grace=False, UNTAGGED=1)),
    "a look that slept marks": ("index", dict(fresh=False)),
    "no margin for the time of a look": ("index", dict(margin=False)),
    "who is told renews nothing": ("index", dict(renew=False)),
    "a pull renews nothing": ("pulls", dict(renew=False)),
    "HEAD of what is said of an image is a promise": ("referrer", dict(referrer_told=True)),
    "no row locks": ("index", dict(row_locks=False)),
    "holds: a deleted index does not hold its child": ("index", dict(deleted_holds=False)),
    "holds: the push of what refers to it leaves the mark": ("index", dict(clears=False)),
}


def run(scenario, rules):
    """Return how many states there are, and the trace that breaks something or None."""
    came, trace = Untagged(*SCENARIOS[scenario], rules).search()
    return len(came), trace


def main(words):
    asked, total, surprises = " ".join(words), 0, 0
    controls = [(name, *control, name.startswith("holds")) for name, control in CONTROLS.items()]
    for name, scenario, rules, holds in [(x, x, {}, True) for x in SCENARIOS] + controls:
        if asked == name or (not asked and "large" not in name):
            count, trace = run(scenario, rules)
            total += count if not rules else 0
            surprises += (trace is None) != holds
            print(f"{name:52} {'holds' if trace is None else 'breaks':7} {count:8} states", flush=True)
            if trace and (asked or holds):
                print("  " + "\n  ".join(trace))
    print(f"{total} states of the rules as they are; {surprises} surprises")
    sys.exit(surprises > 0)


if __name__ == "__main__":
    main(sys.argv[1:])
