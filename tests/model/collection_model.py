#!/usr/bin/env python3
"""A model of collection, searched whole: every order of pushes, deletions, walks and faults.

    python3 collection_model.py             all scenarios (the rules hold) and all controls (each breaks)
    python3 collection_model.py NAME        one scenario or one control, with the shortest trace that breaks it
    python3 collection_model.py --random N  N random steps of a configuration too big to search
    python3 collection_model.py --purge     only what purging adds (tests/model/test_purge.py)
Time is ticks, kept as ages that stop growing where nothing compares them: finitely many states, and no
bound on how long anything takes. A gateway that sleeps, a walk that is stopped, a wire that is cut:
other steps come first. A step is one transaction, or one locked section on one disk.

A chunk's copy on a store is a cell (age, before, look, look_age, trash):
  age       of its file's time by the store's clock; NONE: no file in chunks/
  before    the age that a power cut brings back: the last touch is not on the disk yet
  look      what its store's walk holds of it: HALF (one of two kinds of rows read), CLEAN (in no row),
            CHANGED (another stamp since), TWICE (CLEAN again), MOVE (misplaced), CONFIRMED (by homes)
  look_age  only for the rule of two looks;  trash  age in trash/, NONE: not there
A gateway is (pc, blob, base, acks: a mask of stores for each chunk, mask of chunks recorded);
`base` is the age by the database's clock of its last exchange before the oldest put in no row.
A state is (G gateways, S sessions (chunks, idle), B rows of blobs, K what is left of links' leases,
M manifests: 0 live, 1+ deleted for so long, P what was promised of each link, T stores: (up, quiet
for, clock has jumped, cells), X (layout, frozen, backup, half-done things, purges)).
A purge of a chunk is (NOT, UNLINKING or GONE, the stores that have confirmed, the gateways whose base
is of before it was gone, how long it is gone).
"""

import random
import sys
from collections import deque
from itertools import product

NONE = -1
IDLE, PUTTING, CHECKED, OPEN = range(4)
NO_LOOK, HALF, CLEAN, CHANGED, TWICE, MOVE, CONFIRMED, MOVE_CHANGED = range(8)
AFTER_A_PUT = {HALF: CHANGED, CLEAN: CHANGED, TWICE: CHANGED, MOVE: MOVE_CHANGED, CONFIRMED: MOVE_CHANGED}
TAKEN = ("taken",)
NOT, UNLINKING, GONE = range(3)
NO_PURGE = (NOT, 0, 0, 0)

RULES = dict(  # the design; each control changes one of them
    L=3,  # the lease of a copy, in ticks of the store's clock
    R=1,  # a put touches a copy that is at least so old
    C=1,  # a put is recorded when its base is no older
    Q=2,  # nothing is removed so soon after the store's start or a step of its clock
    TRASH=1, LINK=2, PROMISE=1, UNDELETE=1, SESSION=2, STEP=1,
    touch=True,  # a put of a known chunk renews its time
    lock="all",  # a put finds and answers in one locked section | only where it "touches" | "none"
    recheck="stamp",  # at the rename: "stamp" as it was at the look | "age" | "none"
    age=True,  # a look passes over copies whose lease runs
    record="all",  # what a session is told: "all" that was put since the base | "one" of it
    db_check=True,  # the recording transaction compares the base with the database's clock
    own_check=False,  # the gateway compares it with its own clock, before
    quiet=True,  # rule Q
    steady=True,  # a step of the store's clock begins Q again
    step_ends_looks=True,  # and voids the looks taken before
    two_looks=False,  # a second look, a lease after the first
    order="sessions",  # what a look reads first: "sessions" | "blobs" | "both", in one snapshot
    cas="row",  # the commit takes its session away: the "row" as it knew it | "exists" | "none"
    tx_ends=True,  # the database ends a transaction that stands open
    look_locks=False,  # a look takes the database's write lock (SQLite)
    confirm="touch",  # a home that confirms a copy to be trimmed "touch"es its own | "see"s it
    move_recheck=True,  # a trim compares the stamp, too
    copy_unnamed=False,  # repair copies chunks that no row names
    purge_look=True,  # the trash is looked at once more before it is emptied
    freeze=True,  # a restored database freezes collection
    row_locks=True,  # links are locked, then looked at by a second statement
    lease=True,  # links have leases
    lease_clock="database",  # | "gateway": one that is behind
    renew=True,  # HEAD renews a lease that ends within PROMISE
    unlink="checked",  # DELETE of a blob: refused while a manifest refers to it | "at once"
    fence=True,  # what names a chunk that is being unlinked is refused
    anew=True,  # and what put it before it was gone, too
    confirmed="all",  # a chunk is gone once "all" stores have said so | "any"
    fence_lock=True,  # a purge waits for transactions that have looked at the fence
    purge_asks=True,  # a chunk that an upload, or another blob, names is no part of a purge
    KEEP=2,  # so long it is remembered that a chunk is gone: C, and what the clock may step back
)
SIZES = dict(gateways=1, stores=2, chunks=1, blobs=((0,), (0,)), repos=1, manifests=(), copies=1, W=1)


def put(row, index, value):
    return row[:index] + (value,) + row[index + 1 :]


class Model:
    def __init__(self, groups, sizes, rules):
        self.__dict__.update(RULES | SIZES | sizes | rules)
        self.on = set(groups.split())
        self.idle = (IDLE, 0, 0, (0,) * self.chunks, 0)

    def start(self):
        """Blob 0 is there for long, with all its copies; the others too where nobody pushes."""
        cells = ((self.L, NONE, NO_LOOK, 0, NONE),) * self.chunks
        old = [b == 0 or "push" not in self.on for b in range(len(self.blobs))]
        K = tuple(0 if r == 0 and old[b] else NONE for r in range(self.repos) for b in range(len(old)))
        M = tuple(0 if m == 0 else NONE for m in range(len(self.manifests)))
        T = ((1, self.Q, 0, cells),) * self.stores
        G, S = (self.idle,) * self.gateways, (None,) * self.gateways
        return G, S, tuple(old), K, M, (0,) * len(K), T, (0, 0, None, (), (NO_PURGE,) * self.chunks)

    def named(self, st, chunk, sessions=True, blobs=True):
        in_session = sessions and any(s and s[0] >> chunk & 1 for s in st[1])
        return in_session or (blobs and any(row and chunk in self.blobs[b] for b, row in enumerate(st[2])))

    def homes(self, st):
        return [((st[7][0] & 1) + i) % self.stores for i in range(self.copies)]

    def referred(self, M, r, b):
        return any(M[m] != NONE and where == (r, b) for m, where in enumerate(self.manifests))

    def broken(self, st):
        """Return what is wrong in this state; "" when nothing is."""
        _, _, B, K, M, P, T, X = st
        if TAKEN in X[3]:
            return "the walk has taken a copy that a push counts on"
        restored = X[2] is not None and X[2][0] == "over"
        for b, c in [(b, c) for b, row in enumerate(B) if row and not restored for c in self.blobs[b]]:
            if all(x[3][c][0] == NONE for x in T):
                return f"blob {b} has a row, and no store has chunk {c} outside its trash"
        for rows in (B, X[2][1]) if restored else ():  # the latter until somebody says which is right
            for b, row in enumerate(rows or ()):
                if row and any(all(x[3][c][0] == NONE == x[3][c][4] for x in T) for c in self.blobs[b]):
                    return f"blob {b}, of the restored database or the one before, has lost its chunks"
        for m, (r, b) in enumerate(self.manifests):
            if 0 <= M[m] <= self.UNDELETE and (not B[b] or K[r * len(self.blobs) + b] == NONE):
                return f"manifest {m} refers to blob {b}, whose row or link is gone"
        for i, left in enumerate(P):
            if left and (K[i] == NONE or not B[i % len(self.blobs)]):
                return f"link {i} was promised and is gone"
        return ""

    def steps(self, st):
        """Yield (words, next state) for everything that may happen now."""
        for g in range(self.gateways if "push" in self.on else 0):
            yield from self.gateway(st, g)
        for g, session in enumerate(st[1]):
            if session:
                why = "expires" if session[1] >= self.SESSION else "is cancelled"
                yield f"session {g} {why}", self.but(st, S=put(st[1], g, None))
                if session[0]:
                    yield f"another request replaces the tail of session {g}", self.but(st, S=put(st[1], g, (0, 0)))
        for s in range(self.stores):
            yield from self.store(st, s)
        if "rows" in self.on and not st[7][1]:
            yield from self.collector(st)
        if "names" in self.on:
            yield from self.clients(st)
        if "purge" in self.on:
            yield from self.purges(st)
        yield from self.world(st)
        yield "a tick passes", self.tick(st)

    def gateway(self, st, g):
        G, S, B, K, _, P, T, _ = st
        pc, b, base, acks, rec = G[g]
        if pc == IDLE:
            X = put(st[7], 3, tuple(x for x in st[7][3] if x[:2] != ("put", g)))
            opened = self.but(st, S=put(S, g, (0, 0) if "session" in self.on else None), X=X)
            for b in range(len(self.blobs)):
                begun = self.but(opened, G=put(G, g, (PUTTING, b, *self.idle[2:])))
                yield f"g{g} begins to push blob {b}", self.new_base(begun, g)
            return
        yield f"g{g} gives up", self.but(st, G=put(G, g, self.idle))
        in_time = base <= self.C
        if pc == PUTTING:
            for c, s in product(self.blobs[b], range(self.stores)):
                if T[s][0] and not acks[c] >> s & 1 and not rec >> c & 1:
                    yield from self.put_chunk(st, g, c, s)
            whole = [c for c in self.blobs[b] if acks[c].bit_count() >= self.W]
            ready = self.record == "one" or all(c in whole for c, by in enumerate(acks) if by)
            fenced = any(acks) and self.is_fenced(st, g, [c for c, by in enumerate(acks) if by])
            if S[g] and whole and ready and not fenced and (in_time or not self.db_check):
                new = whole if self.record == "all" else whole[:1]
                acks2, more = tuple(0 if c in new else by for c, by in enumerate(acks)), sum(1 << c for c in new)
                recorded = self.but(
                    st, G=put(G, g, (pc, b, 0, acks2, rec | more)), S=put(S, g, (S[g][0] | more, 0)))
                yield f"g{g} records {new} in its session", self.new_base(recorded, g)
            complete = all(c in whole or rec >> c & 1 for c in self.blobs[b])
            if complete and self.own_check and in_time:
                yield f"g{g} is in time by its own clock", self.but(st, G=put(G, g, (CHECKED, *G[g][1:])))
            if not complete or self.own_check:
                return
        if pc != OPEN:
            as_known = S[g] and (S[g][0] & rec == rec or self.cas == "exists")
            if (self.db_check and not in_time and any(acks)) or (rec and self.cas != "none" and not as_known):
                return
            if self.is_fenced(st, g, [c for c in self.blobs[b] if not rec >> c & 1]):
                return
            if "open" in self.on and not any(x[0] == OPEN for x in G):
                yield f"g{g} has run its statements", self.but(st, G=put(G, g, (OPEN, *G[g][1:])))
            if "open" in self.on:
                return
        i, left = b, self.LINK if self.lease and self.lease_clock == "database" else 0
        yield f"g{g} commits blob {b}", self.but(
            st, G=put(G, g, self.idle), S=put(S, g, None), B=put(B, b, True),
            K=put(K, i, max(K[i], left)), P=put(P, i, self.PROMISE))

    def is_fenced(self, st, g, chunks):
        """Say whether the transaction that would name these is refused."""
        found = [(state, old) for state, _, old, _ in (st[7][4][c] for c in chunks)]
        return any(
            (state == UNLINKING and self.fence) or (state == GONE and self.anew and old >> g & 1)
            for state, old in found)

    def new_base(self, st, g):
        """Have a gateway hear from the database: what it puts from now on was never unlinked."""
        purges = tuple((a, b, old & ~(1 << g), d) for a, b, old, d in st[7][4])
        return self.but(st, X=put(st[7], 4, purges))

    def purges(self, st):
        """An operator takes a blob away for good, and every store each chunk that only it names."""
        G, _, B, K, _, P, T, X = st
        for b, row in enumerate(B):
            waits = self.fence_lock and any(pc == OPEN for pc, *_ in G)
            if row and not waits:
                at = range(b, len(K), len(self.blobs))
                after = self.but(
                    st, B=put(B, b, False), K=tuple(NONE if i in at else k for i, k in enumerate(K)),
                    P=tuple(0 if i in at else p for i, p in enumerate(P)))
                going = [c for c in self.blobs[b] if not (self.purge_asks and self.named(after, c))]
                new = tuple((UNLINKING, 0, 0, 0) if c in going else x for c, x in enumerate(X[4]))
                yield f"blob {b} is purged", self.but(after, X=put(X, 4, new))
        for c, (state, done, old, age) in enumerate(X[4]):
            for s in [s for s in range(self.stores) if state != NOT and T[s][0] and not done >> s & 1]:
                look = T[s][3][c][2]
                unlinked = self.cell(st, s, c, (NONE, NONE, AFTER_A_PUT.get(look, look), 0, NONE))
                purge = put(X[4], c, (state, done | 1 << s, old, age))
                yield f"store {s} has unlinked chunk {c}", self.but(unlinked, X=put(X, 4, purge))
            every = 2**self.stores - 1
            if state == UNLINKING and (done == every or (done and self.confirmed == "any")):
                old = sum(1 << g for g, x in enumerate(G) if x[0] != IDLE)
                purge = put(X[4], c, (GONE, done, old, 0))
                yield f"chunk {c} is said to be gone", self.but(st, X=put(X, 4, purge))

    def put_chunk(self, st, g, c, s):
        """A put of a new or a known chunk; without the lock, the latter in two steps."""
        half, cell = ("put", g, c, s), st[6][s][3][c]
        if half in st[7][3]:
            st, cell = self.done(st, half), cell if self.lock == "none" else None
        elif cell[0] == NONE:
            cell = (0, NONE, AFTER_A_PUT.get(cell[2], cell[2]), 0, cell[4])
        elif self.lock == "none" or (self.lock == "touches" and cell[0] < self.R):
            yield f"g{g}'s put finds chunk {c} on store {s}", self.half(st, half)
            return
        *same, acks, rec = st[0][g]
        st = self.but(st, G=put(st[0], g, (*same, put(acks, c, acks[c] | 1 << s), rec)))
        yield f"g{g} has put chunk {c} on store {s}", self.cell(st, s, c, self.touched(cell)) if cell else st

    def touched(self, cell):
        age, before, look, look_age, trash = cell
        if not self.touch or age < self.R:
            return cell
        before = NONE if "crash" not in self.on else age if before == NONE else before
        return 0, before, AFTER_A_PUT.get(look, look), look_age, trash

    def store(self, st, s):
        up, quiet, jumped, cells = st[6][s]
        if not up:
            yield f"store {s} starts", self.but(st, T=put(st[6], s, (1, 0, jumped, cells)))
            return
        if "crash" in self.on:  # what lies in trash/ or chunks/ is durable, only the last touch is not
            lost = tuple((a if v == NONE else v, NONE, NO_LOOK, 0, t) for a, v, _, _, t in cells)
            yield f"store {s}'s power is cut", self.but(st, T=put(st[6], s, (0, 0, jumped, lost)))
        for where, to in (("ahead", self.L), ("back", 0)) if "jump" in self.on and not jumped else ():
            ends = self.step_ends_looks
            moved = tuple((a if a == NONE else to, v, NO_LOOK if ends else k, n, t) for a, v, k, n, t in cells)
            after = put(st[6], s, (1, 0 if self.steady else quiet, 1, moved))
            yield f"store {s}'s clock jumps a lease {where}", self.but(st, T=after)
        for c in range(self.chunks if "walk" in self.on and not st[7][1] else 0):
            yield from self.walk(st, s, c)
            if "move" in self.on:
                yield from self.moves(st, s, c)

    def walk(self, st, s, c):
        G, (_, quiet, _, cells) = st[0], st[6][s]
        age, before, look, look_age, trash = cells[c]

        def now(words, *cell):
            return f"store {s}'s walk {words} chunk {c}", self.cell(st, s, c, cell)

        may_look = age != NONE and not (self.look_locks and any(x[0] == OPEN for x in G))
        due = (age >= self.L or not self.age) and (quiet >= self.Q or not self.quiet)
        first = {"sessions": (True, False), "blobs": (False, True), "both": (True, True)}[self.order]
        if may_look and due and look == NO_LOOK and not self.named(st, c, *first):
            to = CLEAN if self.order == "both" else HALF
            yield now("finds no row (first half) for", age, before, to, 0, trash)
        if may_look and look == HALF:
            seen = self.named(st, c, not first[0], not first[1])
            words = "sees a row for" if seen else "finds no row for"
            yield now(words, age, before, NO_LOOK if seen else CLEAN, 0, trash)
        if may_look and self.two_looks and look == CLEAN and look_age >= self.L:
            yield now("looks again at", age, before, NO_LOOK if self.named(st, c) else TWICE, 0, trash)
        changed_ok = self.recheck == "none" or (self.recheck == "age" and age >= self.L)
        ready = look == (TWICE if self.two_looks else CLEAN) or (look == CHANGED and changed_ok)
        if age != NONE and ready:
            words, after = now("trashes", NONE, NONE, NO_LOOK, 0, 0 if "trash" in self.on else NONE)
            counted = any(acks[c] >> s & 1 and (pc == OPEN or base <= self.C) for pc, _, base, acks, _ in G)
            yield words, self.but(after, X=put(st[7], 3, (TAKEN,))) if counted else after
        if look in (CHANGED, MOVE, CONFIRMED, MOVE_CHANGED):
            yield now("lets go of", age, before, NO_LOOK, 0, trash)
        if trash != NONE and trash >= self.TRASH:
            if self.purge_look and self.named(st, c):
                yield now("brings back", max(age, 0), NONE, NO_LOOK, 0, NONE)
            else:
                yield now("purges", age, before, look, look_age, NONE)

    def moves(self, st, s, c):
        """Repair: fetch what a home lacks. Trim: let go of a misplaced copy that the homes have."""
        T, homes = st[6], self.homes(st)
        age, before, look, _, trash = T[s][3][c]
        wanted = self.named(st, c) or self.copy_unnamed
        has = [x[0] and x[3][c][0] != NONE for x in T]
        if s in homes and age == NONE and wanted and any(has):
            yield f"store {s} fetches chunk {c}", self.cell(st, s, c, (0, NONE, NO_LOOK, 0, trash))
        if s in homes or age == NONE or not all(has[h] for h in homes):
            return
        if look == NO_LOOK and wanted:
            yield f"store {s}'s walk sees chunk {c} misplaced", self.cell(st, s, c, (age, before, MOVE, 0, trash))
        if look == MOVE:
            after = self.cell(st, s, c, (age, before, CONFIRMED, 0, trash))
            for h in homes if self.confirm == "touch" else ():
                after = self.cell(after, h, c, self.touched(after[6][h][3][c]))
            yield f"the homes confirm chunk {c} to store {s}", after
        if look == CONFIRMED or (look == MOVE_CHANGED and not self.move_recheck):
            yield f"store {s} trims chunk {c}", self.cell(st, s, c, (NONE, NONE, NO_LOOK, 0, trash))

    def collector(self, st):
        """The collector of rows; without row locks it looks and deletes in two steps."""
        B, K, M, X = st[2], st[3], st[4], st[7]
        for m, age in enumerate(M):
            if age > self.UNDELETE:
                yield f"manifest {m} is purged", self.but(st, M=put(M, m, NONE))
        for i, left in enumerate(K):
            free = left == 0 and not self.referred(M, *divmod(i, len(self.blobs)))
            if (free and self.row_locks) or ("link", i) in X[3]:
                yield f"the collector deletes link {i}", self.done(self.but(st, K=put(K, i, NONE)), ("link", i))
            elif free:
                yield f"the collector finds link {i} free", self.half(st, ("link", i))
        for b, row in enumerate(B):
            if row and all(left == NONE for left in K[b :: len(self.blobs)]):
                yield f"the collector deletes blob {b}", self.but(st, B=put(B, b, False))

    def clients(self, st):
        K, M, P, X = st[3], st[4], st[5], st[7]
        for i, left in enumerate(K):
            r, b = divmod(i, len(self.blobs))
            if left == NONE:
                continue
            renewed = self.LINK if self.renew and left < self.PROMISE else left
            yield f"HEAD of link {i} says 200", self.but(st, K=put(K, i, renewed), P=put(P, i, self.PROMISE))
            if self.unlink == "at once" or not self.referred(M, r, b):
                yield f"a client deletes link {i}", self.but(st, K=put(K, i, NONE), P=put(P, i, 0))
            for j in [j for j in range(b, len(K), len(self.blobs)) if K[j] == NONE]:
                mounted = put(K, j, self.LINK * self.lease)
                yield f"mount of link {i} as {j}", self.but(st, K=mounted, P=put(P, j, self.PROMISE))
        for m, (r, b) in enumerate(self.manifests):
            there, half = K[r * len(self.blobs) + b] != NONE, ("manifest", m)
            if M[m] != 0 and ((there and self.row_locks) or half in X[3]):
                yield f"manifest {m} is put", self.done(self.but(st, M=put(M, m, 0)), half)
            elif M[m] != 0 and there:
                yield f"the put of manifest {m} finds its link", self.half(st, half)
            if M[m] == 0:
                yield f"manifest {m} is deleted", self.but(st, M=put(M, m, 1))
            if 0 < M[m] <= self.UNDELETE:
                yield f"manifest {m} is undeleted", self.but(st, M=put(M, m, 0))

    def world(self, st):
        G, _, B, K, M, _, T, X = st
        if "move" in self.on and not X[0] & 1:
            yield "the layout changes", self.but(st, X=put(X, 0, X[0] | 1))
        if "back" in self.on and not X[0] & 2:
            earlier = tuple((pc, b, max(base - self.STEP, 0), *rest) for pc, b, base, *rest in G)
            back = tuple((a, b, c, max(age - self.STEP, 0)) for a, b, c, age in X[4])
            X = put(put(X, 0, X[0] | 2), 4, back)
            yield "the database's clock steps back", self.but(st, G=earlier, X=X)
        if "restore" in self.on and X[2] is None:
            yield "a backup is taken", self.but(st, X=put(X, 2, (B, K, M)))
        elif "restore" in self.on and X[2][0] != "over":  # all servers are stopped for it
            T = tuple((u, 0, j, tuple((a, NONE, 0, 0, t) for a, _, _, _, t in cells)) for u, _, j, cells in T)
            chunks = {c for b, row in enumerate(X[2][0]) if row for c in self.blobs[b]}
            if all(any(x[3][c][0] != NONE or x[3][c][4] != NONE for x in T) for c in chunks):
                start, X = self.start(), (X[0], int(self.freeze), ("over", B), (), X[4])
                yield "the backup is restored", (*start[:2], *st[7][2], start[5], T, X)
        elif X[1]:
            yield "the operator lifts the freeze", self.but(st, X=(X[0], 0, ("over", None), *X[3:]))

    def tick(self, st):
        up = lambda n, most: n if n == NONE else min(n + 1, most)  # noqa: E731
        G, S, B, K, M, P, T, X = st
        oldest = self.C + 1 + (self.STEP if "back" in self.on else 0)
        ends = (IDLE, OPEN) if self.tx_ends else (IDLE,)
        G = tuple(self.idle if x[0] in ends else (*x[:2], up(x[2], oldest), *x[3:]) for x in G)
        S = tuple(s and (s[0], up(s[1], self.SESSION)) for s in S)
        K = tuple(max(k - 1, min(k, 0)) for k in K)
        M = tuple(up(m, self.UNDELETE + 1) if m > 0 else m for m in M)
        P = tuple(max(p - 1, 0) for p in P)
        cell = lambda a, _, k, n, t: (  # noqa: E731
            up(a, self.L), NONE, k, up(n, self.L) if self.two_looks and k == CLEAN else 0, up(t, self.TRASH))
        T = tuple((u, up(q, self.Q) if u else 0, j, tuple(cell(*x) for x in cells)) for u, q, j, cells in T)
        forgets = lambda x: NO_PURGE if x[0] == GONE and x[3] >= self.KEEP else (*x[:3], x[3] + (x[0] == GONE))  # noqa: E731
        return G, S, B, K, M, P, T, put(X, 4, tuple(map(forgets, X[4])))

    def but(self, st, **changes):
        return tuple(changes.get(name, value) for name, value in zip("GSBKMPTX", st))

    def cell(self, st, s, c, cell):
        return self.but(st, T=put(st[6], s, put(st[6][s], 3, put(st[6][s][3], c, tuple(cell)))))

    def half(self, st, half):
        return self.but(st, X=put(st[7], 3, st[7][3] + (half,)))

    def done(self, st, half):
        return self.but(st, X=put(st[7], 3, tuple(x for x in st[7][3] if x != half)))

    def search(self):
        """Go through all states, breadth first; return them, and the shortest way to a broken one."""
        came = {self.start(): None}
        queue = deque(came)
        while queue:
            st = queue.popleft()
            for words, after in self.steps(st):
                if after not in came:
                    came[after] = st, words
                    queue.append(after)
                    if wrong := self.broken(after):
                        trace = [wrong]
                        while came[after] is not None:
                            after, words = came[after]
                            trace.insert(0, words)
                        return came, trace
        return came, None

    def wander(self, steps, seed):
        """Return the trace of a random walk that broke something, or None."""
        chance = random.Random(seed)
        for _ in range(steps // 400):
            st, trace = self.start(), []
            for _ in range(400):
                words, st = chance.choice(list(self.steps(st)))
                trace.append(words)
                if wrong := self.broken(st):
                    return trace + [wrong]

    def left_over(self, st, chance):
        """Return the trace when no more is pushed and something that no row names stays for ever."""
        no_more = ("begins", "put", "records", "commits", "HEAD", "mount", "undeleted", "power", "jumps",
                   "layout", "backup", "replaces", "statements", "in time", "tick")
        st = self.but(st, G=(self.idle,) * self.gateways, X=(*st[7][:1], 0, st[7][2], (), st[7][4]))
        trace = []
        for who in [w for _ in range(25) for w in (*chance.sample(range(self.stores + 1), self.stores + 1), None)]:
            if who is None:  # everybody took part in this tick, in any order
                st = self.tick(st)
            for _ in range(12 if who is not None else 0):
                todo = [(words, after) for words, after in self.steps(st) if not any(x in words for x in no_more)
                        and (words.startswith(f"store {who}") or (who == self.stores and "store" not in words))]
                if todo:
                    words, st = chance.choice(todo)
                    trace.append(words)
        stay = [c for c in range(self.chunks) if not self.named(st, c)
                and any(x[3][c][0] != NONE or x[3][c][4] != NONE for x in st[6])]
        return trace + [f"chunks {stay} are in no row for long, and are still there"] if stay else None


NAMES = dict(stores=0, chunks=0, blobs=((),), repos=2, manifests=((0, 0), (1, 0)))
ONE = dict(stores=1)
SCENARIOS = {  # name: (what happens, sizes)
    "push": ("push walk rows crash jump", ONE),
    "large: move, crash": ("push walk rows move crash", {}),  # 3,039,420 states: only when asked for
    "push, two gateways": ("push walk rows crash", ONE | dict(gateways=2)),
    "push, two stores": ("push walk rows", {}),
    "push, quorum of two": ("push walk rows", dict(copies=2, W=2)),
    "push, two chunks": ("push walk rows", ONE | dict(chunks=2, blobs=((0,), (0, 1)))),
    "session": ("push session walk rows", ONE),
    "session, crash": ("push session walk rows crash jump", ONE),
    "session, two gateways": ("push session walk rows", ONE | dict(gateways=2)),
    "session, two chunks": ("push session walk rows", ONE | dict(chunks=2, blobs=((0,), (0, 1)))),
    "transaction open": ("push walk rows open", ONE),
    "database's clock": ("push walk rows back", ONE),
    "move": ("push walk rows move", {}),
    "restore": ("push walk rows trash restore", ONE),
    "names": ("rows names", NAMES),
    "names, two blobs": ("rows names", NAMES | dict(blobs=((), ()), manifests=((0, 0), (1, 0), (1, 1)))),
    "push and names": ("push walk rows names", ONE | dict(manifests=((0, 0), (0, 1)))),
    "purge": ("push walk purge crash", ONE),
    "purge, two stores": ("push walk purge", {}),
    "purge, two gateways": ("push walk purge", ONE | dict(gateways=2)),
    "purge, session": ("push session walk purge", ONE),
    "purge, two chunks": ("push walk purge", ONE | dict(chunks=2, blobs=((0,), (0, 1)))),
    "purge, transaction open": ("push walk purge open", ONE),
    "purge, database's clock": ("push walk purge back", ONE),
    "large: purge, move": ("push walk purge move", {}),
    "purge, quorum of two": ("push walk purge", dict(copies=2, W=2)),
}
CONTROLS = {  # name: (scenario, what is changed); "holds: …" are not needed, or do instead
    "no touch": ("push", dict(touch=False)),
    "no lock": ("push", dict(lock="none")),
    "no recheck at the rename": ("push", dict(recheck="none")),
    "recheck of the age alone": ("push", dict(recheck="age")),
    "no lease of copies": ("push", dict(age=False)),
    "no time check": ("push", dict(db_check=False)),
    "time check by the gateway's clock alone": ("push", dict(db_check=False, own_check=True)),
    "C too long": ("push", dict(C=3)),
    "R too long": ("push", dict(R=3)),
    "no Q": ("push", dict(quiet=False)),
    "Q too short": ("push", dict(Q=1)),
    "Q not begun again after a step": ("push", dict(steady=False)),
    "a look outlives a step": ("push", dict(step_ends_looks=False)),
    "the base moves, a put stays": ("session, two chunks", dict(record="one", R=2)),
    "blobs read before sessions": ("session", dict(order="blobs")),
    "commit without its session": ("session", dict(cas="none")),
    "commit with a changed session": ("session", dict(cas="exists")),
    "transactions stand open for ever": ("transaction open", dict(tx_ends=False)),
    "database's clock back by too much": ("database's clock", dict(STEP=2)),
    "a home sees, does not touch": ("move", dict(confirm="see")),
    "no recheck at the trim": ("move", dict(move_recheck=False)),
    "repair copies unnamed chunks": ("move", dict(copy_unnamed=True, copies=2)),
    "trash emptied without a look": ("restore", dict(purge_look=False)),
    "no freeze": ("restore", dict(freeze=False)),
    "no row locks": ("names", dict(row_locks=False)),
    "no lease on links": ("names", dict(lease=False)),
    "HEAD does not renew": ("names", dict(renew=False)),
    "DELETE of a blob unlinks at once": ("names", dict(unlink="at once")),
    "link leases by a gateway's clock": ("push and names", dict(lease_clock="gateway")),
    "no fence": ("purge", dict(fence=False)),
    "named after it is gone, put before": ("purge", dict(anew=False)),
    "gone before every store has confirmed": ("purge, two stores", dict(confirmed="any")),
    "a purge does not wait": ("purge, transaction open", dict(fence_lock=False)),
    "a purge of what an upload names": ("purge, session", dict(purge_asks=False)),
    "gone is forgotten too soon": ("purge", dict(KEEP=0)),
    "gone is forgotten after C": ("purge, database's clock", dict(KEEP=1)),
    "holds: the gateway's own check as well": ("push", dict(own_check=True)),
    "holds: lock only where it touches": ("push", dict(lock="touches")),
    "holds: R=2, for the base": ("session, two chunks", dict(R=2)),
    "holds: a second look as well": ("push", dict(two_looks=True)),
    "holds: one snapshot instead of an order": ("session", dict(order="both")),
    "holds: the write lock instead of limits": ("transaction open", dict(tx_ends=False, look_locks=True)),
    "holds: two looks instead of lease and Q": ("push", dict(two_looks=True, age=False, quiet=False, steady=False)),
}
BIG = dict(gateways=2, chunks=2, blobs=((0,), (0, 1)), repos=2, manifests=((0, 0), (0, 1)))
LARGEST = ("push session walk rows crash jump move names trash", BIG)


def run(scenario, rules):
    """Return how many states there are, and the trace that breaks something or None."""
    model = Model(*SCENARIOS[scenario], rules)
    came, trace = model.search()
    chance = random.Random(1)
    for st in chance.sample(list(came), min(100, len(came))) if trace is None else ():  # does all go?
        trace = trace or model.left_over(st, chance)
    return len(came), trace


def main(words):
    if words[:1] == ["--random"]:
        for seed in range(-(-int(words[1]) // 100_000)):
            trace = Model(*LARGEST, {}).wander(100_000, seed)
            print(f"seed {seed}:", "\n  ".join(["breaks", *trace]) if trace else "holds", flush=True)
        return
    only = "purge" if words == ["--purge"] else ""
    asked, total, surprises = "" if only else " ".join(words), 0, 0
    controls = [(name, *control, name.startswith("holds")) for name, control in CONTROLS.items()]
    for name, scenario, rules, holds in [(x, x, {}, True) for x in SCENARIOS] + controls:
        if asked == name or (not asked and "large" not in name and only in scenario):
            count, trace = run(scenario, rules)
            total += count if not rules else 0
            surprises += (trace is None) != holds
            print(f"{name:42} {'holds' if trace is None else 'breaks':7} {count:8} states", flush=True)
            if trace and (asked or holds):
                print("  " + "\n  ".join(trace))
    print(f"{total} states of the rules as they are; {surprises} surprises")
    sys.exit(surprises > 0)


if __name__ == "__main__":
    main(sys.argv[1:])
