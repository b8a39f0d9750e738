-- The tables of schema/sqlite/0002.sql and 0003.sql, which say what their columns mean, and what is done
-- with them in one round trip each: a lock that waited for a client's next word would stop every other client.
--
-- Whatever changes a session takes the ledger's row first and holds it to the end of its transaction.
-- So ids rise in the order of the commits, nobody waits for two that wait for each other, and what is
-- read behind that lock is what it was until the end.

CREATE TABLE sessions (
    number        bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id            bytea   NOT NULL UNIQUE,
    deployment_id bigint,
    app_id        bigint,
    type          text    NOT NULL,
    hostname      text    NOT NULL,
    command       text    NOT NULL,
    tty           boolean NOT NULL,
    is_posted     boolean NOT NULL,
    started_at_us bigint  NOT NULL,
    epoch         bigint  NOT NULL,
    opened_us     bigint  NOT NULL, -- when the connection asked that has this epoch
    replica       bigint,
    first_offset  bigint  NOT NULL DEFAULT 0,
    first_arrival bigint,
    stored_bytes  bigint  NOT NULL DEFAULT 0,
    next_offset   bigint  NOT NULL DEFAULT 0,
    entries       bigint  NOT NULL DEFAULT 0,
    stdout_open   bigint  NOT NULL DEFAULT -1,
    stderr_open   bigint  NOT NULL DEFAULT -1,
    tty_open      bigint  NOT NULL DEFAULT -1,
    cols          integer NOT NULL DEFAULT 0,
    rows          integer NOT NULL DEFAULT 0,
    output_bytes  bigint  NOT NULL DEFAULT 0,
    gaps          bigint  NOT NULL DEFAULT 0,
    lost_bytes    bigint  NOT NULL DEFAULT 0,
    ended_us      bigint,
    exit_code     integer,
    exit_signal   integer,
    cut           boolean NOT NULL DEFAULT false,
    last_seen_us  bigint  NOT NULL,
    last_arrival  bigint  NOT NULL DEFAULT 0,
    span          integer NOT NULL DEFAULT 0,
    until_us      bigint  NOT NULL DEFAULT 0,
    tail_offset   bigint  NOT NULL DEFAULT 0,
    tail_chunks   integer NOT NULL DEFAULT 0,
    tail_bytes    bigint  NOT NULL DEFAULT 0
) WITH (fillfactor = 50); -- a commit's new version of a row fits beside the old one

CREATE INDEX sessions_connected ON sessions (replica) WHERE replica IS NOT NULL;
CREATE INDEX sessions_of_app ON sessions (app_id, number);
CREATE INDEX sessions_of_deployment ON sessions (deployment_id, number);
CREATE INDEX sessions_by_age ON sessions (first_arrival);
CREATE INDEX sessions_by_span ON sessions (app_id, span, started_at_us);
CREATE INDEX sessions_by_begin ON sessions (app_id, started_at_us, number);
CREATE INDEX sessions_by_end ON sessions (app_id, until_us, number);

CREATE TABLE chunks (
    session       bigint NOT NULL,
    first_offset  bigint NOT NULL,
    end_offset    bigint NOT NULL,
    first_time_us bigint NOT NULL,
    last_time_us  bigint NOT NULL,
    first_entry   bigint NOT NULL,
    end_entry     bigint NOT NULL,
    stdout_open   bigint NOT NULL,
    stderr_open   bigint NOT NULL,
    tty_open      bigint NOT NULL,
    arrival       bigint NOT NULL,
    marks         bytea  NOT NULL,
    records       bytea  NOT NULL,
    PRIMARY KEY (session, first_offset)
);
-- Packing takes more time than writing what it saves, and the bytes are often packed.
ALTER TABLE chunks ALTER COLUMN records SET STORAGE EXTERNAL;

-- writer: the server's process behind the replica's newest connection for commits. What an older one
-- still brings, a frozen server's for one, was given up.
CREATE TABLE replicas (
    number   bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alive_us bigint  NOT NULL,
    writer   integer NOT NULL
);

CREATE TABLE ledger (
    only_row     boolean PRIMARY KEY CHECK (only_row),
    arrival      bigint  NOT NULL,
    stored_bytes bigint  NOT NULL
) WITH (fillfactor = 10);

INSERT INTO ledger (only_row, arrival, stored_bytes) VALUES (true, 0, 0);

CREATE TABLE tokens (
    number        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind          text   NOT NULL CHECK (kind IN ('ingest', 'view', 'link', 'browser')),
    name          text   NOT NULL,
    hash          bytea  NOT NULL UNIQUE,
    deployment_id bigint,
    app_id        bigint,
    created_us    bigint NOT NULL,
    expires_us    bigint,
    revoked_us    bigint
);

-- A session's new state. It had the epoch, and ended at at_offset, when this was written. Of the records
-- that lead there, the chunk from at_offset to next_offset: ids is how many it takes, ids_before how many
-- those before it in the commit take, size_bytes what it weighs; all three NULL where there are none.
CREATE TYPE write AS (
    place         integer,
    number        bigint,
    epoch         bigint,
    at_offset     bigint,
    is_connected  boolean,
    next_offset   bigint,
    entries       bigint,
    stdout_open   bigint,
    stderr_open   bigint,
    tty_open      bigint,
    cols          integer,
    rows          integer,
    output_bytes  bigint,
    gaps          bigint,
    lost_bytes    bigint,
    ended_us      bigint,
    exit_code     integer,
    exit_signal   integer,
    cut           boolean,
    last_seen_us  bigint,
    ids_before    bigint,
    ids           bigint,
    records_at    integer,
    size_bytes    integer,
    first_time_us bigint,
    last_time_us  bigint,
    first_entry   bigint,
    line_stdout   bigint,
    line_stderr   bigint,
    line_tty      bigint
);

CREATE TYPE opening AS (
    id            bytea,
    deployment_id bigint,
    app_id        bigint,
    type          text,
    hostname      text,
    command       text,
    tty           boolean,
    is_posted     boolean,
    started_at_us bigint,
    now_us        bigint
);

-- When the newest chunks of a session are merged; see store/base.py.
CREATE TYPE merging AS (
    small_bytes   integer,
    chunks        integer,
    bytes         integer,
    worth_merging integer,
    span_us       bigint,
    sessions      integer
);

-- With --anvilops: how many entries of a session are lines of AnvilOps' own table by now.
CREATE TABLE logged (
    session bigint PRIMARY KEY REFERENCES sessions (number) ON DELETE CASCADE,
    entries bigint NOT NULL
);

CREATE FUNCTION wall_us() RETURNS bigint LANGUAGE sql AS
    $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;

-- Both NULL for NULL. The sum is of times that a shipper says, which may be more than a column holds.
CREATE FUNCTION span_of(time_us bigint) RETURNS integer IMMUTABLE STRICT LANGUAGE sql AS
    $$ SELECT length(ltrim(time_us::bit(64)::text, '0')) $$;
CREATE FUNCTION until_us(begun_us bigint, more_us numeric) RETURNS bigint IMMUTABLE STRICT LANGUAGE sql AS
    $$ SELECT least(begun_us + more_us, 9223372036854775807)::bigint $$;

-- Make one chunk of those of each session that begin in a span of offsets, in each span of time.
CREATE FUNCTION merge(sessions bigint[], firsts bigint[], pasts bigint[], span_us bigint) RETURNS void
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM chunks USING unnest(sessions, firsts, pasts) AS span (session, first, past)
        WHERE chunks.session = span.session AND first_offset >= first AND first_offset < past
        RETURNING chunks.*
    ), spanned AS (
        SELECT *, (arrival - min(arrival) OVER (PARTITION BY session)) / span_us AS span FROM gone
    ), placed AS (
        SELECT *, row_number() OVER (PARTITION BY session, span ORDER BY first_offset) AS place
        FROM spanned
    )
    INSERT INTO chunks
    SELECT session, min(first_offset), max(end_offset),
        min(first_time_us) FILTER (WHERE place = 1), max(last_time_us),
        min(first_entry), max(end_entry),
        min(stdout_open) FILTER (WHERE place = 1), min(stderr_open) FILTER (WHERE place = 1),
        min(tty_open) FILTER (WHERE place = 1), min(arrival),
        -- A part that completed nothing has no entry to tell the id of.
        string_agg(
            CASE marks WHEN '' THEN int8send(first_entry) || int8send(arrival) ELSE marks END,
            '' ORDER BY place
        ) FILTER (WHERE place = 1 OR end_entry > first_entry),
        string_agg(records, '' ORDER BY place)
    FROM placed GROUP BY session, span
$$;

-- ids: how many the writes take together. records: of all writes, one behind the other. wakes: what all
-- replicas are told. opened: each opening's session, NULL where a later one had it already.
CREATE FUNCTION commit(
    this bigint, writes write[], records bytea, ids bigint, openings opening[], wakes text[],
    merging merging,
    OUT first_id bigint, OUT written integer[], OUT opened sessions[]
) LANGUAGE plpgsql AS $$
DECLARE
    full_tails integer[];
    merge_sessions bigint[];
    merge_firsts bigint[];
    merge_pasts bigint[];
    written_bytes bigint;
BEGIN
    UPDATE ledger SET arrival = greatest(ledger.arrival + ids, wall_us())
    RETURNING ledger.arrival - ids + 1 INTO first_id;
    IF pg_backend_pid() IS DISTINCT FROM (SELECT writer FROM replicas WHERE replicas.number = this) THEN
        RAISE 'another connection of this backend has taken over';
    END IF;

    -- Whose run of small chunks is merged with what is written now; others' have to wait.
    full_tails := ARRAY(
        SELECT w.place FROM unnest(writes) AS w JOIN sessions AS was ON was.number = w.number
        WHERE w.size_bytes < merging.small_bytes AND (
            was.tail_chunks + 1 >= merging.chunks OR was.tail_bytes + w.size_bytes >= merging.bytes)
        ORDER BY w.place LIMIT merging.sessions);

    WITH done AS (
        UPDATE sessions AS session SET
            next_offset = w.next_offset, entries = w.entries, stdout_open = w.stdout_open,
            stderr_open = w.stderr_open, tty_open = w.tty_open, cols = w.cols, rows = w.rows,
            output_bytes = w.output_bytes, gaps = w.gaps, lost_bytes = w.lost_bytes,
            ended_us = w.ended_us, exit_code = w.exit_code, exit_signal = w.exit_signal, cut = w.cut,
            last_seen_us = w.last_seen_us,
            last_arrival = coalesce(first_id + w.ids_before + w.ids - 1, was.last_arrival),
            replica = CASE WHEN w.is_connected THEN this END,
            first_arrival = coalesce(was.first_arrival, first_id + w.ids_before),
            stored_bytes = was.stored_bytes + coalesce(w.size_bytes, 0),
            span = greatest(was.span, span_of(w.last_time_us)),
            until_us = CASE
                WHEN w.last_time_us IS NULL THEN was.until_us
                WHEN w.ended_us IS NOT NULL THEN until_us(was.started_at_us, w.last_time_us + 1.0)
                ELSE greatest(was.until_us,
                    until_us(was.started_at_us, power(2.0, span_of(w.last_time_us))))
            END,
            -- The run of small chunks ends before a large one, or with its last one.
            tail_offset = CASE WHEN is_large OR is_full THEN w.next_offset ELSE was.tail_offset END,
            tail_chunks = CASE WHEN is_large OR is_full THEN 0 ELSE chunks END,
            tail_bytes = CASE WHEN is_large OR is_full THEN 0 ELSE bytes END
        FROM unnest(writes) AS w
        JOIN sessions AS was ON was.number = w.number
        CROSS JOIN LATERAL (SELECT coalesce(w.size_bytes >= merging.small_bytes, false)) AS a (is_large)
        CROSS JOIN LATERAL (
            SELECT was.tail_chunks + (w.size_bytes IS NOT NULL AND NOT is_large)::integer,
                was.tail_bytes + CASE WHEN is_large THEN 0 ELSE coalesce(w.size_bytes, 0) END
        ) AS b (chunks, bytes)
        CROSS JOIN LATERAL (SELECT w.place = ANY (full_tails)) AS c (is_full)
        WHERE session.number = was.number AND was.epoch = w.epoch AND was.next_offset = w.at_offset
        RETURNING w.place, w.number, w.size_bytes, was.tail_offset AS first,
            CASE
                WHEN NOT is_large AND is_full THEN w.next_offset
                WHEN is_large AND was.tail_chunks >= merging.worth_merging THEN w.at_offset
            END AS past
    )
    SELECT array_agg(done.place), coalesce(sum(done.size_bytes), 0),
        array_agg(done.number) FILTER (WHERE done.past IS NOT NULL),
        array_agg(done.first) FILTER (WHERE done.past IS NOT NULL),
        array_agg(done.past) FILTER (WHERE done.past IS NOT NULL)
    FROM done INTO written, written_bytes, merge_sessions, merge_firsts, merge_pasts;

    IF written_bytes > 0 THEN
        INSERT INTO chunks
        SELECT w.number, w.at_offset, w.next_offset, w.first_time_us, w.last_time_us, w.first_entry,
            w.entries, w.line_stdout, w.line_stderr, w.line_tty, first_id + w.ids_before, '',
            substr(records, w.records_at, w.size_bytes)
        FROM unnest(writes) AS w WHERE w.place = ANY (written) AND w.size_bytes IS NOT NULL;
        UPDATE ledger SET stored_bytes = ledger.stored_bytes + written_bytes;
    END IF;
    IF merge_sessions IS NOT NULL THEN
        PERFORM merge(merge_sessions, merge_firsts, merge_pasts, merging.span_us);
    END IF;

    IF cardinality(openings) > 0 THEN
        WITH made AS (
            INSERT INTO sessions (id, deployment_id, app_id, type, hostname, command, tty, is_posted,
                started_at_us, epoch, opened_us, replica, last_seen_us)
            SELECT o.id, o.deployment_id, o.app_id, o.type, o.hostname, o.command, o.tty, o.is_posted,
                o.started_at_us, 1, o.now_us, CASE WHEN NOT o.is_posted THEN this END, o.now_us
            FROM unnest(openings) AS o
            ON CONFLICT (id) DO UPDATE SET epoch = sessions.epoch + 1, opened_us = excluded.opened_us,
                replica = excluded.replica, last_seen_us = excluded.last_seen_us
            -- Not later than the last one: it was on its way while its shipper had gone elsewhere. Later
            -- by more than a minute, that was a clock that was wrong.
            WHERE sessions.opened_us NOT BETWEEN excluded.opened_us + 1
                AND excluded.opened_us + 60000000
                AND sessions.deployment_id IS NOT DISTINCT FROM excluded.deployment_id
                AND sessions.is_posted = excluded.is_posted
            RETURNING sessions
        )
        SELECT array_agg(m.sessions ORDER BY o.place) INTO opened
        FROM unnest(openings) WITH ORDINALITY AS o (id, a, b, c, d, e, f, g, h, i, place)
        LEFT JOIN made AS m ON (m.sessions).id = o.id;
    END IF;
    -- In the order of the commits, since the ledger's row is held until this one's end. Before the names stands
    -- the greatest id that was given by now, in the last one only: 0 means that the commit has more.
    PERFORM pg_notify('ptyshipper',
        CASE WHEN place = cardinality(wakes) THEN first_id + ids - 1 ELSE 0 END || ' ' || wake)
    FROM unnest(wakes) WITH ORDINALITY AS told (wake, place);
END $$;

-- What of a session is stored from an offset on: chunks until they weigh max_bytes, at least one.
CREATE FUNCTION read(number bigint, from_offset bigint, max_bytes bigint) RETURNS SETOF chunks
LANGUAGE plpgsql STABLE AS $$
DECLARE
    chunk chunks;
    read_bytes bigint := 0;
BEGIN
    FOR chunk IN
        SELECT * FROM chunks WHERE session = number AND first_offset >= coalesce((
            SELECT max(first_offset) FROM chunks
            WHERE session = number AND first_offset <= from_offset), 0)
        ORDER BY first_offset
    LOOP
        IF chunk.end_offset > from_offset THEN
            RETURN NEXT chunk;
            read_bytes := read_bytes + octet_length(chunk.records);
            EXIT WHEN read_bytes >= max_bytes;
        END IF;
    END LOOP;
END $$;

-- This process is alive; the sessions of those that are dead are nobody's. A dead one's row is kept for a
-- day: it may only be asleep.
CREATE FUNCTION note_alive(this bigint, now_us bigint, dead_after_us bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM ledger FOR UPDATE;
    UPDATE replicas SET alive_us = greatest(alive_us, now_us) WHERE number = this;
    UPDATE sessions SET replica = NULL, last_seen_us = greatest(last_seen_us, alive_us)
    FROM replicas WHERE replica = replicas.number AND alive_us < now_us - dead_after_us;
    DELETE FROM replicas WHERE alive_us < now_us - 86400000000;
END $$;

-- Deletes what is too old and the oldest of what is too much, and returns how many rows those were. span_us:
-- what is in a merged chunk may be so much younger than its first part.
CREATE FUNCTION expire(before_us bigint, max_bytes bigint, most integer, span_us bigint) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    excess bigint;
    oldest record;
    deleted integer;
    emptied integer;
    freed bigint;
BEGIN
    -- greatest() passes over NULL, which max_bytes is where nothing is too much.
    SELECT greatest(0, stored_bytes - max_bytes) INTO excess FROM ledger FOR UPDATE;
    DELETE FROM sessions WHERE number IN (
        SELECT number FROM sessions WHERE first_arrival IS NULL AND replica IS NULL
            AND last_seen_us < before_us LIMIT most);
    GET DIAGNOSTICS emptied = ROW_COUNT;

    SELECT number, first_arrival INTO oldest FROM sessions WHERE first_arrival IS NOT NULL
    ORDER BY first_arrival LIMIT 1;
    IF NOT FOUND OR (oldest.first_arrival >= before_us AND excess = 0) THEN
        RETURN emptied;
    END IF;
    WITH front AS (
        SELECT first_offset, octet_length(records) AS size_bytes,
            -- Of all up to there: nothing goes from behind something that stays.
            max(arrival + CASE marks WHEN '' THEN 0 ELSE span_us END) OVER (ORDER BY first_offset)
                AS youngest_us
        FROM chunks WHERE session = oldest.number ORDER BY first_offset LIMIT most
    ), summed AS (
        SELECT *, sum(size_bytes) OVER (ORDER BY first_offset) - size_bytes AS freed_before FROM front
    ), gone AS (
        DELETE FROM chunks USING summed
        WHERE session = oldest.number AND chunks.first_offset = summed.first_offset
            AND (summed.youngest_us < before_us OR freed_before < excess)
        RETURNING size_bytes
    )
    SELECT count(*), coalesce(sum(size_bytes), 0) INTO deleted, freed FROM gone;

    UPDATE sessions SET stored_bytes = stored_bytes - freed, first_arrival = kept.arrival,
        first_offset = coalesce(kept.first_offset, next_offset),
        tail_offset = CASE WHEN kept IS NULL THEN next_offset ELSE tail_offset END,
        tail_chunks = CASE WHEN kept IS NULL THEN 0 ELSE tail_chunks END,
        tail_bytes = CASE WHEN kept IS NULL THEN 0 ELSE tail_bytes END
    FROM (SELECT) AS always LEFT JOIN LATERAL (
        SELECT chunks.first_offset, arrival FROM chunks WHERE session = oldest.number
        ORDER BY first_offset LIMIT 1
    ) AS kept ON true
    WHERE number = oldest.number;
    UPDATE ledger SET stored_bytes = stored_bytes - freed;
    RETURN emptied + deleted;
END $$;
