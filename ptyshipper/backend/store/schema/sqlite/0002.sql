-- Sessions know their app, whether they came as posts, which connection (epoch) may write them, to
-- which backend process (replica) they are connected, and what of them is kept. Entries are the lines
-- and events of a session, numbered as they were completed; ids of entries (arrivals) rise over all
-- sessions of the store.
ALTER TABLE sessions RENAME TO sessions_1;
ALTER TABLE chunks RENAME TO chunks_1;
DROP INDEX sessions_connected;
DROP INDEX chunks_by_offset;

-- A session is one run of a wrapped program. Times: *_us since 1970, but for ended_us, which counts
-- from started_at_us. *_open is the offset of the record in which an unfinished line of that stream
-- began, or -1. tail_* describe the newest chunks that were not merged yet: where they begin, how many
-- they are, what they weigh. Numbers are in the order that sessions came in, which is this machine's: a
-- shipper's clock may be wrong; a deleted session's number is never another's. first_arrival is that of
-- the oldest chunk that is kept.
CREATE TABLE sessions (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    id            BLOB    NOT NULL UNIQUE,
    deployment_id INTEGER,
    app_id        INTEGER,
    type          TEXT    NOT NULL,
    hostname      TEXT    NOT NULL,
    command       TEXT    NOT NULL, -- a JSON list of strings
    tty           INTEGER NOT NULL,
    is_posted     INTEGER NOT NULL DEFAULT 0,
    started_at_us INTEGER NOT NULL,
    epoch         INTEGER NOT NULL DEFAULT 0,
    replica       INTEGER,
    first_offset  INTEGER NOT NULL DEFAULT 0,
    first_arrival INTEGER,
    stored_bytes  INTEGER NOT NULL DEFAULT 0,
    next_offset   INTEGER NOT NULL DEFAULT 0,
    entries       INTEGER NOT NULL DEFAULT 0,
    stdout_open   INTEGER NOT NULL DEFAULT -1,
    stderr_open   INTEGER NOT NULL DEFAULT -1,
    tty_open      INTEGER NOT NULL DEFAULT -1,
    cols          INTEGER NOT NULL DEFAULT 0,
    rows          INTEGER NOT NULL DEFAULT 0,
    output_bytes  INTEGER NOT NULL DEFAULT 0,
    gaps          INTEGER NOT NULL DEFAULT 0,
    lost_bytes    INTEGER NOT NULL DEFAULT 0,
    ended_us      INTEGER,
    exit_code     INTEGER,
    exit_signal   INTEGER,
    cut           INTEGER NOT NULL DEFAULT 0,
    last_seen_us  INTEGER NOT NULL DEFAULT 0,
    last_arrival  INTEGER NOT NULL DEFAULT 0,
    tail_offset   INTEGER NOT NULL DEFAULT 0,
    tail_chunks   INTEGER NOT NULL DEFAULT 0,
    tail_bytes    INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Only the few that are connected are in it, so a restart finds them without reading the rest.
CREATE INDEX sessions_connected ON sessions (replica) WHERE replica IS NOT NULL;
CREATE INDEX sessions_of_app ON sessions (app_id, number);
CREATE INDEX sessions_of_deployment ON sessions (deployment_id, number);
-- Changes only when the oldest chunk of a session is deleted: it is what retention begins with.
CREATE INDEX sessions_by_age ON sessions (first_arrival);

-- records holds whole records, as they came over the wire. marks: see Chunk in session.py.
CREATE TABLE chunks (
    number        INTEGER PRIMARY KEY,
    session       INTEGER NOT NULL REFERENCES sessions (number),
    first_offset  INTEGER NOT NULL,
    end_offset    INTEGER NOT NULL,
    first_time_us INTEGER NOT NULL,
    last_time_us  INTEGER NOT NULL,
    first_entry   INTEGER NOT NULL,
    end_entry     INTEGER NOT NULL,
    stdout_open   INTEGER NOT NULL,
    stderr_open   INTEGER NOT NULL,
    tty_open      INTEGER NOT NULL,
    arrival       INTEGER NOT NULL,
    marks         BLOB    NOT NULL,
    records       BLOB    NOT NULL
) STRICT;

-- Not a primary key WITHOUT ROWID: that would put the records themselves into the search tree.
CREATE UNIQUE INDEX chunks_by_offset ON chunks (session, first_offset);

-- Which backend processes there are, and until when each was known to be alive.
CREATE TABLE replicas (
    number   INTEGER PRIMARY KEY,
    alive_us INTEGER NOT NULL
) STRICT;

-- The greatest id that any entry has, and how many bytes of records are kept.
CREATE TABLE ledger (
    only_row     INTEGER PRIMARY KEY CHECK (only_row = 1),
    arrival      INTEGER NOT NULL,
    stored_bytes INTEGER NOT NULL
) STRICT;

INSERT INTO ledger (only_row, arrival, stored_bytes) VALUES (1, 0, 0);

INSERT INTO sessions (number, id, deployment_id, type, hostname, command, tty, started_at_us, cols,
    rows, next_offset, output_bytes, gaps, lost_bytes, ended_us, exit_code, exit_signal, cut,
    last_seen_us)
SELECT number, id, deployment_id, type, hostname, command, tty, started_at_us, cols, rows, next_offset,
    output_bytes, gaps, lost_bytes, ended_us, exit_code, exit_signal, cut,
    CASE WHEN connected THEN max(last_seen_us, (SELECT alive_us FROM server)) ELSE last_seen_us END
FROM sessions_1;

DROP TABLE server;

-- Secrets are kept as their SHA-256 only. kind: ingest (shippers of a deployment), view (readers: of one
-- app, or of all), link (a view token, once), browser (the cookie that a link was exchanged for).
CREATE TABLE tokens (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    kind          TEXT    NOT NULL CHECK (kind IN ('ingest', 'view', 'link', 'browser')),
    name          TEXT    NOT NULL,
    hash          BLOB    NOT NULL UNIQUE,
    deployment_id INTEGER,
    app_id        INTEGER,
    created_us    INTEGER NOT NULL,
    expires_us    INTEGER,
    revoked_us    INTEGER
) STRICT;
