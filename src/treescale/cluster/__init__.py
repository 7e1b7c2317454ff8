"""What keeps a cluster in order: who belongs to it, and which layout follows from that.

Decisions are pure and go by the database's rows alone, so every server comes to the same one; what
is decided is put in force by the database, for one of those who propose it. No chunk is touched.
"""
