"""What every store does: all or nothing, fenced by epoch and offset, found again, merged while small."""

from __future__ import annotations

import asyncio
import time
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ptyshipper.backend.digest import NO_LINES
from ptyshipper.backend.session import (
    CUT_AFTER_US,
    QUIET_AFTER_US,
    Chunk,
    Session,
    merged,
)
from ptyshipper.backend.store.base import (
    DEAD_AFTER_US,
    MERGE_AT_LEAST,
    MERGE_CHUNKS,
    MERGE_SPAN_US,
    STATES,
    WORTH_MERGING,
    Query,
    Sketch,
    Store,
    Token,
    Write,
)
from ptyshipper.backend.store.postgres import PostgresStore
from ptyshipper.backend.store.sqlite import SqliteStore
from ptyshipper.errors import StoreError
from ptyshipper.records import Kind
from tests.backend.store.conftest import Open
from tests.support.listening import listening
from tests.support.server import exit_record, output, start_record
from tests.support.sessions import ALL, opened, opening, put, stored, write

NOW_US = 1_800_000_000_000_000


async def chunk_sizes(store: Store, session: Session) -> list[int]:
    return [len(chunk.records) for chunk in await store.chunks(session.number, 0, ALL)]


# Openings


async def test_first_opening_makes_the_session(store: Store) -> None:
    """As it was described, in its first epoch, connected and seen now."""
    asked = opening(5, app_id=3, now_us=7, command=["sh", "-c", "é \ud800\0"], hostname="wéb-0")
    (session,) = (await store.commit([], [asked])).sessions
    assert session is not None
    assert (session.id, session.description, session.app_id) == (
        asked.session_id,
        asked.description,
        3,
    )
    assert (session.epoch, session.next_offset, session.open_lines) == (1, 0, NO_LINES)
    assert (session.connected, session.last_seen_us, session.is_posted) == (True, 7, False)
    assert await store.load(session.id) == session
    assert await store.load(bytes(16)) is None


async def test_later_opening_finds_the_session_in_the_next_epoch(store: Store) -> None:
    """Its description stays that of the first; several are opened at once, in the order asked for."""
    first = await opened(store, 1, hostname="one")
    await put(store, first, output(b"x"))
    again = opening(1, hostname="two", now_us=2_000)
    made, found = (await store.commit([], [opening(2), again])).sessions
    assert made is not None
    assert found is not None
    assert (made.number > first.number, made.epoch) == (True, 1)
    assert (found.number, found.epoch, found.description) == (first.number, 2, first.description)
    assert (found.next_offset, found.last_seen_us) == (first.next_offset, 2_000)


async def test_posted_session_is_connected_to_nobody(store: Store) -> None:
    session = await opened(store, is_posted=True)
    assert (session.is_posted, session.connected) == (True, False)


async def test_openings_come_behind_the_writes(store: Store) -> None:
    """Whoever asks while something is on its way is told where that ends."""
    session = await opened(store)
    done = await store.commit([write(session, output(b"x\n"))], [opening()])
    assert done.refused == set()
    assert done.sessions[0] is not None
    assert (done.sessions[0].next_offset, done.sessions[0].entries) == (session.next_offset, 1)


async def test_opening_of_another_deployment_s_session_is_refused(store: Store) -> None:
    """So is one of a session that came in the other way; whose the session is does not change."""
    session = await opened(store, 1, deployment_id=5)
    refused = [
        opening(1, deployment_id=6),
        opening(1, deployment_id=None),
        opening(1, deployment_id=5, is_posted=True),
    ]
    for each in refused:
        done = await store.commit([write(session, output(b"x"))], [each, opening(2)])
        assert (done.refused, done.sessions[0]) == (set(), None)
        assert done.sessions[1] is not None
    assert await store.load(session.id) == session
    await opened(store, 3, deployment_id=None)
    assert (await opened(store, 3, deployment_id=None)).epoch == 2


# Writes


async def test_every_field_comes_back_as_it_was_stored(store: Store) -> None:
    """Also the largest numbers that there are."""
    session = await opened(store, tty=True)
    parts = [
        start_record(132, 43),
        output(b"a\nb"),
        output(b"c", Kind.STDERR),
        output(b"d", Kind.TTY),
    ]
    begun = tuple(sum(map(len, parts[:number])) for number in (1, 2, 3))
    chunk = await put(store, session, b"".join(parts))
    assert await store.chunks(session.number, 0, ALL) == [chunk]
    assert await store.load(session.id) == session
    session.gaps, session.lost_bytes, session.output_bytes = 2, 2**63 - 1, 2**63 - 1
    session.cut, session.connected, session.last_seen_us = True, False, 5
    await store.commit([Write(session, None)])
    assert await store.load(session.id) == session
    chunk = await put(store, session, exit_record(0, 9))
    assert (session.exit_signal, chunk.open_lines) == (9, begun)
    assert await store.load(session.id) == session


async def test_write_of_a_passed_epoch_is_refused(store: Store) -> None:
    """With records or without; the rest of the commit is stored."""
    older, bystander = await opened(store, 1), await opened(store, 2)
    newer = await opened(store, 1)
    done = await store.commit([write(older, output(b"old")), write(bystander, output(b"by"))])
    assert (done.refused, done.chunks[0]) == ({0}, None)
    older.next_offset, older.cut = 0, True
    assert (await store.commit([Write(older, None)])).refused == {0}
    assert await store.load(newer.id) == newer
    await put(store, newer, output(b"new"))
    assert await stored(store, newer) == output(b"new")
    assert await stored(store, bystander) == output(b"by")


async def test_both_epochs_in_one_commit(store: Store) -> None:
    """What two connections brought since the last: the later wins."""
    older, newer = await opened(store), await opened(store)
    done = await store.commit([write(older, output(b"old")), write(newer, output(b"new"))])
    assert done.refused == {0}
    assert await stored(store, newer) == output(b"new")


@pytest.mark.parametrize("offset", [0, 10, 200])
async def test_write_that_does_not_begin_at_the_end_is_refused(store: Store, offset: int) -> None:
    """A repeated batch, one that overlaps, one that leaves a hole."""
    session = await opened(store)
    await put(store, session, output(b"x" * 84))
    kept = await store.load(session.id)
    session.next_offset = offset
    done = await store.commit([write(session, output(b"y"))])
    assert (done.refused, done.chunks) == ({0}, [None])
    assert await stored(store, session) == output(b"x" * 84)
    assert await store.load(session.id) == kept


async def test_state_that_is_behind_the_records_is_refused(store: Store) -> None:
    session = await opened(store)
    await put(store, session, output(b"x"))
    session.next_offset = 0
    assert (await store.commit([Write(session, None)])).refused == {0}


async def test_session_may_move_on_while_it_is_written(store: Store) -> None:
    """What is written is what it was when the commit was asked for."""
    session = await opened(store)
    first = write(session, output(b"first\n"))
    committing = asyncio.ensure_future(store.commit([first]))
    await asyncio.sleep(0)
    second = write(session, output(b"second\n"))
    await committing
    found = await store.load(session.id)
    assert found is not None
    assert (found.next_offset, found.entries) == (first.chunk.end_offset, 1)  # type: ignore[union-attr]
    await store.commit([second])
    assert await store.load(session.id) == session


async def test_what_no_column_holds_takes_the_whole_commit_with_it(store: Store) -> None:
    """It would be a flaw of ours: nothing is stored, and the next commit is none the worse for it."""
    flawed, bystander = await opened(store, 1), await opened(store, 2)
    before, horizon = await store.load(bystander.id), await store.horizon()
    flawed.output_bytes = 2**70
    with pytest.raises(StoreError):
        await store.commit([write(bystander, output(b"x")), Write(flawed, None)], [opening(3)])
    assert await store.load(bystander.id) == before
    assert await stored(store, bystander) == b""
    assert await store.horizon() == horizon
    assert len(await store.sessions(Query())) == 2
    assert before is not None
    await put(store, before, output(b"y"))
    assert await stored(store, before) == output(b"y")


async def test_commit_of_8_mib_for_many_sessions(store: Store) -> None:
    """As large as the committer makes them, with more sessions than a notification names."""
    asked = [opening(number, app_id=number) for number in range(1, 513)]
    sessions = [s for s in (await store.commit([], asked)).sessions if s is not None]
    batches = [output(bytes([number % 256]) * 16_000) for number in range(512)]
    done = await store.commit([write(s, b) for s, b in zip(sessions, batches, strict=True)])
    assert done.refused == set()
    for number in (0, 255, 511):
        assert await stored(store, sessions[number]) == batches[number]


# Ids


async def test_ids_rise_over_all_sessions(store: Store) -> None:
    """One for each entry, at least one for each chunk; about the time in microseconds."""
    before_us = time.time_ns() // 1000
    one, two = await opened(store, 1), await opened(store, 2)
    done = await store.commit([write(one, output(b"a\nb\nc")), write(two, output(b"no end"))])
    first, second = done.chunks
    assert first is not None
    assert second is not None
    assert before_us <= first.arrival <= time.time_ns() // 1000
    assert (one.last_arrival, second.arrival) == (first.arrival + 1, first.arrival + 2)
    assert two.last_arrival == second.arrival == await store.horizon()
    third = await put(store, one, output(b"\n"))
    assert third.arrival > second.arrival
    assert await store.horizon() == third.arrival
    await store.commit([Write(two, None)])
    assert two.last_arrival == second.arrival
    assert [s.id for s in await store.sessions(Query(changed_after=second.arrival))] == [one.id]


async def test_merged_chunks_keep_the_ids_of_their_entries(store: Store) -> None:
    """And all else that chunks say: what is read is what the chunks that were written make together."""
    session, written = await opened(store), list[Chunk]()
    for number in range(2 * MERGE_CHUNKS + 3):
        text = [b"line\n", b"two\nlines\n", b"no end"][number % 3]
        written.append(await put(store, session, output(text, time_us=1_000 - number)))
    found = await store.chunks(session.number, 0, ALL)
    expected = [
        merged(written[:MERGE_CHUNKS]),
        merged(written[MERGE_CHUNKS : 2 * MERGE_CHUNKS]),
        *written[2 * MERGE_CHUNKS :],
    ]
    assert found == expected
    assert (await store.load(session.id)) == session


# Chunks


async def test_chunks_begin_with_the_one_that_holds_the_offset(store: Store) -> None:
    session = await opened(store)
    for _ in range(5):
        await put(store, session, output(b"x" * 184))  # 200 bytes
    for offset in range(0, 1_000, 50):
        found = await store.chunks(session.number, offset, ALL)
        assert [chunk.first_offset for chunk in found] == list(
            range(offset // 200 * 200, 1_000, 200)
        )
    assert len(await store.chunks(session.number, 0, 1)) == 1
    assert len(await store.chunks(session.number, 0, 200)) == 1
    assert len(await store.chunks(session.number, 0, 201)) == 2
    assert await store.chunks(session.number, 1_000, ALL) == []
    assert await store.chunks(session.number + 1, 0, ALL) == []


async def test_chunk_at_is_the_last_that_begins_there_or_before(store: Store) -> None:
    """Without its bytes; of what is behind the end the last one, of what was deleted the first."""
    session = await opened(store)
    assert await store.chunk_at(session.number, 0) is None
    written = [await put(store, session, output(b"x" * 20_000)) for _ in range(3)]
    bare = [chunk._replace(records=b"") for chunk in written]
    size = len(written[0].records)
    for offset, expected in ((0, 0), (size - 1, 0), (size, 1), (3 * size - 1, 2), (ALL, 2)):
        assert await store.chunk_at(session.number, offset) == bare[expected]
    await store.expire(0, 2 * size, 100)
    assert await store.chunk_at(session.number, 0) == bare[1]


async def test_outline_is_the_chunks_in_order(store: Store) -> None:
    """Without their records, from the first that begins at an offset or behind it; of other sessions
    none."""
    sessions = [await opened(store, number) for number in (1, 2)]
    chunks = [
        await put(store, session, output(b"%d\n" % number * 9_000, time_us=number))
        for session in sessions
        for number in range(5)
    ]
    sketches = [Sketch(*chunk[:6], len(chunk.records)) for chunk in chunks]
    one, two = (session.number for session in sessions)
    behind = chunks[1].end_offset
    assert await store.outline(one, 0, 10) == sketches[:5]
    assert await store.outline(two, 0, 2) == sketches[5:7]
    assert await store.outline(one, behind, 10) == sketches[2:5]
    assert await store.outline(one, behind + 1, 10) == sketches[3:5]
    assert await store.outline(two + 1, 0, 10) == []


async def test_large_chunks_are_not_rewritten(store: Store) -> None:
    """They stay as they came; the small ones between them are merged when it is worth it."""
    session, written = await opened(store), list[Chunk]()
    large, small = output(b"x" * 60_000), output(b"y" * 84)
    batches = [large, large, *[small] * WORTH_MERGING, large, *[small] * 3, large]
    for batch in batches:
        written.append(await put(store, session, batch))
    expected = [*written[:2], merged(written[2 : 2 + WORTH_MERGING]), *written[2 + WORTH_MERGING :]]
    assert await store.chunks(session.number, 0, ALL) == expected


async def test_small_chunks_are_merged_by_weight_too(store: Store) -> None:
    session = await opened(store)
    for _ in range(40):
        await put(store, session, output(b"x" * 9_984))  # 10,000 bytes
    assert await chunk_sizes(store, session) == [270_000, *[10_000] * 13]


async def test_sessions_in_step_are_merged_a_few_in_a_commit(store: Store) -> None:
    """Those that have to wait are merged with what they write next, and lose nothing by it."""
    sessions = [await opened(store, number) for number in range(1, 3 * MERGE_AT_LEAST)]
    written = list[list[Chunk | None]]()
    for number in range(MERGE_CHUNKS + 2):
        line = output(b"%d\n" % number)
        done = await store.commit([write(session, line) for session in sessions])
        assert done.refused == set()
        written.append(done.chunks)
        if number >= MERGE_CHUNKS - 1:
            found = [await store.chunks(session.number, 0, ALL) for session in sessions]
            merges = sum(chunks[0] != written[0][at] for at, chunks in enumerate(found))
            assert merges == min(len(sessions), (number - MERGE_CHUNKS + 2) * MERGE_AT_LEAST)
    for at, chunks in enumerate(found):
        own = [each[at] for each in written]
        assert merged(chunks) == merged([chunk for chunk in own if chunk is not None])


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    mix=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([10, 200, 5_000, 20_000])), max_size=100
    )
)
def test_any_mix_of_chunks_reads_back(
    store: Store, runner: asyncio.Runner, mix: list[tuple[int, int]]
) -> None:
    """Sessions interleaved, sizes mixed: each session's bytes are its own, in order, once."""

    async def check() -> None:
        known = len(await store.sessions(Query(limit=ALL)))
        sessions = [await opened(store, known + number) for number in (1, 2, 3)]
        expected = {session.id: b"" for session in sessions}
        for index, (which, size) in enumerate(mix):
            session, batch = sessions[which], output(bytes([index % 256]) * size)
            await put(store, session, batch)
            expected[session.id] += batch
        for session in sessions:
            assert await stored(store, session) == expected[session.id]
            assert await store.load(session.id) == session

    runner.run(check())


# Lists


async def test_commits_are_heard_of_up_to_which_id(store: Store) -> None:
    """Of an opening there is nothing to read."""
    async with listening(store) as ear:
        first, second = await opened(store, 1, app_id=7), await opened(store, 2)
        await store.commit([write(first, output(b"a\n")), write(second, output(b"b\nc\n"))])
        await put(store, second, output(b"d"))
        await ear.until(2)
    assert [list(news.sessions) for news in ear.heard] == [
        [(first.id, 7), (second.id, None)],
        [(second.id, None)],
    ]
    assert ear.heard[0].horizon < ear.heard[1].horizon == second.last_arrival
    assert all(news.is_own for news in ear.heard)
    assert await store.horizon() >= second.last_arrival


async def test_sessions_are_loaded_together(store: Store) -> None:
    """Those that there are."""
    made = [await opened(store, number) for number in (1, 2, 3)]
    asked = [made[2].id, bytes(15) + b"\x09", made[0].id]
    found = await store.load_all(asked)
    assert sorted(found, key=lambda session: session.id) == [made[0], made[2]]
    assert await store.load_all([]) == []


async def test_sessions_are_listed_newest_first(store: Store) -> None:
    """In the order that they came in, whatever their shippers' clocks say."""
    found = [await opened(store, n, started_at_us=at) for n, at in ((1, 30), (2, 10), (3, 20))]
    assert await store.sessions(Query(limit=2)) == [found[2], found[1]]
    assert await store.sessions(Query(before=found[1].number)) == [found[0]]


async def test_sessions_are_found_by_what_is_known_of_them(store: Store) -> None:
    """Every filter alone, and several together."""
    one = await opened(store, 0xA1 << 120, app_id=1, deployment_id=10, hostname="a", type="build")
    two = await opened(store, 0xA2 << 120, app_id=1, deployment_id=20, hostname="b")
    three = await opened(store, 0xB1 << 120, app_id=2, deployment_id=None, hostname="b")
    for query, expected in (
        (Query(), [three, two, one]),
        (Query(prefix="a"), [two, one]),
        (Query(prefix="a2"), [two]),
        (Query(prefix=two.id.hex()), [two]),
        (Query(prefix="c"), []),
        (Query(app_id=1), [two, one]),
        (Query(deployment_id=10), [one]),
        (Query(hostname="b"), [three, two]),
        (Query(type="build"), [one]),
        (Query(prefix="a", app_id=1, type="runtime", hostname="b", before=3), [two]),
        (Query(app_id=2, prefix="a"), []),
    ):
        assert await store.sessions(query) == expected, query


async def test_states_are_what_the_sessions_themselves_say(store: Store) -> None:
    """All that a state depends on, at both sides of each limit in time."""
    names = {"exited": lambda s: "succeeded" if s.exit_code == 0 else "failed"}
    ages_us = [0] + [at + by for at in (CUT_AFTER_US, QUIET_AFTER_US) for by in (-1, 0, 1)]
    ends = [None, (0, 0), (3, 0), (0, 9)]
    for number, (posted, end, cut, connected, age_us) in enumerate(
        product([False, True], ends, [False, True], [False, True], ages_us), 1
    ):
        if posted and (cut or connected):
            continue
        session = await opened(store, number, is_posted=posted, now_us=NOW_US - age_us)
        if end is not None:
            await put(store, session, exit_record(*end))
        session.cut, session.connected = cut, connected
        await store.commit([Write(session, None)])
    everything = await store.sessions(Query(limit=ALL))
    said = {s.id: names.get(s.state(NOW_US), lambda s: s.state(NOW_US))(s) for s in everything}
    assert set(said.values()) == set(STATES)
    for state in STATES:
        found = await store.sessions(Query(limit=ALL, state=state, now_us=NOW_US))
        assert found == [s for s in everything if said[s.id] == state], state


# Processes that live and die


async def test_sessions_of_a_dead_process_are_nobody_s(open_store: Open) -> None:
    """They were seen until it last said that it was alive; those that had left keep their own time."""
    dead = await open_store()
    connected, left = await opened(dead, 1), await opened(dead, 2)
    left.connected, left.last_seen_us = False, 20
    await dead.commit([Write(left, None)])
    await dead.note_alive(NOW_US)
    await dead.close()
    alive = await open_store()
    await alive.note_alive(NOW_US + DEAD_AFTER_US + 1)
    found = {s.id: (s.connected, s.last_seen_us) for s in await alive.sessions(Query())}
    assert found == {connected.id: (False, NOW_US), left.id: (False, 20)}


async def test_process_that_says_it_is_alive_keeps_its_sessions(store: Store) -> None:
    session = await opened(store)
    for round_ in range(5):
        await store.note_alive(NOW_US + round_ * DEAD_AFTER_US * 2)
    assert await store.load(session.id) == session


# Retention


async def test_what_is_too_old_is_deleted(store: Store) -> None:
    """From the old end, whole chunks, a few at a time; then the session itself, if it is over."""
    session = await opened(store, now_us=1_000)
    written = [await put(store, session, output(b"x" * 20_000)) for _ in range(4)]
    session.connected = False
    await store.commit([Write(session, None)])
    assert await store.expire(written[0].arrival, None, 10) == 0
    assert await store.expire(written[2].arrival, None, 1) == 1
    assert await store.chunks(session.number, 0, ALL) == written[1:]
    found = await store.load(session.id)
    assert found is not None
    assert (found.first_offset, found.next_offset) == (written[1].first_offset, session.next_offset)
    assert await store.expire(written[2].arrival, None, 10) == 1
    assert await store.expire(written[2].arrival, None, 10) == 0
    while await store.expire(NOW_US * 2, None, 10):
        pass
    assert await store.load(session.id) is None
    assert await store.chunks(session.number, 0, ALL) == []


async def test_session_that_lives_outlives_all_its_records(store: Store) -> None:
    """It goes on where it was, and what is new is kept and merged as ever."""
    session = await opened(store)
    for _ in range(10):
        await put(store, session, output(b"old\n"))
    while await store.expire(NOW_US * 2, None, 4):
        pass
    found = await store.load(session.id)
    assert found is not None
    assert found.first_offset == found.next_offset == session.next_offset
    session.first_offset = found.first_offset
    new = [await put(store, session, output(b"new\n")) for _ in range(MERGE_CHUNKS)]
    assert await store.chunks(session.number, 0, ALL) == [merged(new)]
    assert await store.load(session.id) == session


async def test_run_of_small_chunks_is_merged_though_its_beginning_was_deleted(store: Store) -> None:
    session = await opened(store)
    written = [await put(store, session, output(b"line\n")) for _ in range(MERGE_CHUNKS - 1)]
    await store.expire(written[10].arrival, None, 100)
    written.append(await put(store, session, output(b"line\n")))
    assert await store.chunks(session.number, 0, ALL) == [merged(written[10:])]


async def let_pass(store: Store, span_us: int) -> None:
    """Ids go on as if so much time had passed."""
    later = f"UPDATE ledger SET arrival = arrival + {span_us}"
    if isinstance(store, SqliteStore):
        store._db.execute(later)
    else:
        assert isinstance(store, PostgresStore)
        await store._write(later)


async def test_what_is_young_is_kept_though_it_was_merged(store: Store) -> None:
    """Of a session that prints a line now and then, the first line's age is not the last one's."""
    session = await opened(store)
    written = list[Chunk]()
    for number in range(MERGE_CHUNKS):
        if number % 2 == 0:
            await let_pass(store, MERGE_SPAN_US)
        written.append(await put(store, session, output(b"%d\n" % number)))
    assert len(await store.chunks(session.number, 0, ALL)) < MERGE_CHUNKS, "it was merged"
    while await store.expire(written[40].arrival, None, 100):
        pass
    kept = await store.chunks(session.number, 0, ALL)
    assert b"".join(chunk.records for chunk in kept) == b"".join(c.records for c in written[40:])


async def test_nothing_goes_before_its_time(store: Store) -> None:
    """Nor from behind something that is kept; and a merged chunk's rest not much later."""
    session = await opened(store)
    written = list[Chunk]()
    for number in range(MERGE_CHUNKS + 20):
        await let_pass(store, MERGE_SPAN_US // 4)
        # Of a part that completes no line no mark tells when it came.
        written.append(await put(store, session, output(b"%d" % number + b"\n" * (number % 2))))
    everything = await stored(store, session)
    for oldest in range(len(written)):
        before_us = written[oldest].arrival
        while await store.expire(before_us, None, 3):
            pass
        kept = await stored(store, session)
        assert everything.endswith(kept)
        late = [each for each in written if each.arrival < before_us - MERGE_SPAN_US]
        young = everything[sum(len(each.records) for each in written[:oldest]) :]
        assert kept.endswith(young)
        assert len(kept) <= len(everything) - sum(len(each.records) for each in late)


async def test_number_of_a_deleted_session_is_not_another_s(store: Store) -> None:
    """Whoever still reads the deleted one would be shown the other."""
    first = await opened(store, 1, is_posted=True, now_us=1)
    while await store.expire(NOW_US, None, 10):
        pass
    assert await store.load(first.id) is None
    assert (await opened(store, 2)).number > first.number


async def test_oldest_is_deleted_where_it_is_too_much(store: Store) -> None:
    """Over all sessions, until what is kept is no more than asked for."""
    sessions = [await opened(store, number) for number in (1, 2)]
    size = len(output(b"x" * 20_000))
    written = [await put(store, sessions[turn % 2], output(b"x" * 20_000)) for turn in range(6)]
    assert await store.expire(0, 6 * size, 10) == 0
    while await store.expire(0, 3 * size, 10):
        pass
    kept = [chunk for session in sessions for chunk in await store.chunks(session.number, 0, ALL)]
    assert len(kept) == 3
    assert written[0] not in kept


async def test_refused_writes_weigh_nothing(store: Store) -> None:
    """They would make others look too much."""
    older, newer = await opened(store), await opened(store)
    await put(store, newer, output(b"x"))
    for _ in range(3):
        await store.commit([write(older, output(b"y" * 10_000))])
    assert await store.expire(0, len(output(b"x")), 10) == 0


async def test_merging_changes_no_weight(store: Store) -> None:
    session = await opened(store)
    for _ in range(MERGE_CHUNKS):
        await put(store, session, output(b"line\n"))
    size = MERGE_CHUNKS * len(output(b"line\n"))
    assert await store.expire(0, size, 10) == 0
    assert await store.expire(0, size - 1, 10) == 1


# Tokens


def token(name: str, hash: bytes, **fields: object) -> Token:
    made = Token(0, "ingest", name, hash, 5, None, 1_000, None, None)
    return made._replace(**fields)  # type: ignore[arg-type]


async def test_tokens_are_found_by_their_hash(store: Store) -> None:
    one, two = token("one", b"1" * 32), token("two", b"2" * 32, kind="view", app_id=3, expires_us=9)
    numbers = [await store.add_token(each) for each in (one, two)]
    kept = [each._replace(number=n) for each, n in zip((one, two), numbers, strict=True)]
    assert await store.tokens() == kept
    assert await store.find_token(b"2" * 32) == kept[1]
    assert await store.find_token(b"3" * 32) is None


async def test_taken_token_is_gone(store: Store) -> None:
    number = await store.add_token(token("once", b"1" * 32, kind="link"))
    taken = await store.take_token(b"1" * 32)
    assert taken is not None
    assert (taken.number, taken.kind) == (number, "link")
    assert await store.take_token(b"1" * 32) is None
    assert await store.add_token(token("next", b"2" * 32)) > number, (
        "a person may revoke it by that"
    )


async def test_token_is_revoked_once(store: Store) -> None:
    number = await store.add_token(token("one", b"1" * 32))
    assert await store.revoke_token(number, 2_000) is True
    assert await store.revoke_token(number, 3_000) is False
    assert await store.revoke_token(number + 1, 3_000) is False
    found = await store.find_token(b"1" * 32)
    assert found is not None
    assert found.revoked_us == 2_000


async def test_token_that_was_given_before_is_refused(store: Store) -> None:
    await store.add_token(token("one", b"1" * 32))
    with pytest.raises(StoreError):
        await store.add_token(token("two", b"1" * 32))
    with pytest.raises(StoreError):
        await store.add_token(token("odd", b"2" * 32, kind="other"))
