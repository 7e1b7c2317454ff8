"""Keeping data whole: each server walks the partitions of its own stores.

Repair, rebalance, drain and verification are one walk at different paces. What is to be done is
decided by pure files (`planner`, `progress`); `walk` does it. The room moves copies and never
decides what is referred to: that the database's rows say.
"""
