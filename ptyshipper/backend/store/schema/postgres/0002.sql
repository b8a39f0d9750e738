-- What schema/sqlite/0003.sql says.

-- NULL for NULL.
CREATE FUNCTION span_of(time_us bigint) RETURNS integer IMMUTABLE STRICT LANGUAGE sql AS
    $$ SELECT length(ltrim(time_us::bit(64)::text, '0')) $$;

-- A sum that may be more than the column holds, of times that a shipper says.
CREATE FUNCTION until_us(begun_us bigint, more_us numeric) RETURNS bigint IMMUTABLE STRICT LANGUAGE sql AS
    $$ SELECT least(begun_us + more_us, 9223372036854775807)::bigint $$;

ALTER TABLE sessions ADD COLUMN span integer NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN until_us bigint NOT NULL DEFAULT 0;

UPDATE sessions SET span = span_of(last_us), until_us = until_us(started_at_us,
    CASE WHEN ended_us IS NULL THEN power(2.0, span_of(last_us)) ELSE last_us + 1.0 END)
FROM (SELECT session, max(last_time_us) AS last_us FROM chunks GROUP BY session) AS found
WHERE session = number;

CREATE INDEX sessions_by_span ON sessions (app_id, span, started_at_us);
CREATE INDEX sessions_by_begin ON sessions (app_id, started_at_us, number);
CREATE INDEX sessions_by_end ON sessions (app_id, until_us, number);

-- As before, but for span and until_us.
-- ids: how many the writes take together. records: of all writes, one behind the other. wakes: what the other
-- replicas are told. opened: each opening's session, NULL where a later one had it already.
CREATE OR REPLACE FUNCTION commit(
    this bigint, writes write[], records bytea, ids bigint, openings opening[], wakes text[],
    merging merging,
    OUT first_id bigint, OUT written integer[], OUT opened sessions[]
) LANGUAGE plpgsql AS $$
DECLARE
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
        CROSS JOIN LATERAL (
            SELECT chunks >= merging.chunks OR bytes >= merging.bytes
        ) AS c (is_full)
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
    PERFORM pg_notify('ptyshipper', wake) FROM unnest(wakes) AS wake;
END $$;
