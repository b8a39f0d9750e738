"""The readers' side: ``api`` lists and describes sessions, ``endpoint`` shows their records.

A viewer is a cursor: history comes from the store, what is live from the fan-out while it begins
exactly at the cursor, so that neither a gap nor a repetition can come in between.
"""
