"""AnvilOps' own database as the store: its tokens count, and its dashboard shows the lines.

``rows`` makes rows of AnvilOps' table of entries, and knows how many of them may come at once; ``store`` is
the Postgres store that writes them in the transaction which stores the records, and ``apps`` asks
AnvilOps' tables who may ship what. AnvilOps is not changed: what is written is what its own ingest would
have written.
"""
