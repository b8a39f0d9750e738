-- A session is one run of a wrapped program. Times: *_us since 1970, but for ended_us, which counts
-- from started_at_us. *_lines count newlines stored. tail_* describe the newest chunks that were not
-- merged yet: where they begin, how many they are, what they weigh. Numbers are in the order that
-- sessions came in, which is this machine's: a shipper's clock may be wrong.
CREATE TABLE sessions (
    number        INTEGER PRIMARY KEY,
    id            BLOB    NOT NULL UNIQUE,
    deployment_id INTEGER,
    type          TEXT    NOT NULL,
    hostname      TEXT    NOT NULL,
    command       TEXT    NOT NULL, -- a JSON list of strings
    tty           INTEGER NOT NULL,
    started_at_us INTEGER NOT NULL,
    cols          INTEGER NOT NULL,
    rows          INTEGER NOT NULL,
    next_offset   INTEGER NOT NULL,
    output_bytes  INTEGER NOT NULL,
    stdout_lines  INTEGER NOT NULL,
    stderr_lines  INTEGER NOT NULL,
    tty_lines     INTEGER NOT NULL,
    gaps          INTEGER NOT NULL,
    lost_bytes    INTEGER NOT NULL,
    ended_us      INTEGER,
    exit_code     INTEGER,
    exit_signal   INTEGER,
    cut           INTEGER NOT NULL,
    connected     INTEGER NOT NULL,
    last_seen_us  INTEGER NOT NULL,
    tail_offset   INTEGER NOT NULL DEFAULT 0,
    tail_chunks   INTEGER NOT NULL DEFAULT 0,
    tail_bytes    INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Only the few that are connected are in it, so a restart finds them without reading the rest.
CREATE INDEX sessions_connected ON sessions (number) WHERE connected;

-- records holds whole records, as they came over the wire. *_line is the number, from 0, of the line
-- that the chunk's first byte of that stream belongs to.
CREATE TABLE chunks (
    number        INTEGER PRIMARY KEY,
    session       INTEGER NOT NULL REFERENCES sessions (number),
    first_offset  INTEGER NOT NULL,
    end_offset    INTEGER NOT NULL,
    first_time_us INTEGER NOT NULL,
    last_time_us  INTEGER NOT NULL,
    stdout_line   INTEGER NOT NULL,
    stderr_line   INTEGER NOT NULL,
    tty_line      INTEGER NOT NULL,
    records       BLOB    NOT NULL
) STRICT;

-- Not a primary key WITHOUT ROWID: that would put the records themselves into the search tree.
CREATE UNIQUE INDEX chunks_by_offset ON chunks (session, first_offset);

-- When this backend was alive last: until then its connected sessions were seen.
CREATE TABLE server (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    alive_us INTEGER NOT NULL
) STRICT;

INSERT INTO server (only_row, alive_us) VALUES (1, 0);
