-- Which sessions of an app have something to tell of a time. span: the exponent of the power of two, in
-- microseconds, that what was stored last lies within, since the session began. until_us: nothing that is
-- stored was completed then or later; exact where the session has exited, by the span where it has not.
-- Both change some 20 times in the life of a session, and the indexes with them.
ALTER TABLE sessions ADD COLUMN span INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN until_us INTEGER NOT NULL DEFAULT 0;

CREATE INDEX sessions_by_span ON sessions (app_id, span, started_at_us);
CREATE INDEX sessions_by_begin ON sessions (app_id, started_at_us, number);
CREATE INDEX sessions_by_end ON sessions (app_id, until_us, number);
