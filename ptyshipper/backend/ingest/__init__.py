"""The shippers' side: ``core`` decides, ``endpoint`` moves the bytes, ``hub`` joins the connections
with the ``committer``, which stores what all of them brought in one transaction at a time.
"""
