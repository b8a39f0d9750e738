"""Where a backend listens: the paths that shippers and viewers ask for."""

INGEST_PATH = "/api/logs/ingest"
SESSIONS_PATH = "/api/sessions"
LOGIN_PATH = "/login"
