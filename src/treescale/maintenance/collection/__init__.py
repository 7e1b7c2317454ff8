"""What collection may take of a store and of the rows, and what holds it back.

Pure but for `row_turns`; `collector` does it on stores.
"""
