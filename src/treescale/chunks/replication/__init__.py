"""Copies over several stores: written until enough are durable, read from the first good one.

A store is asked through the protocols of `chunks.store`; nobody here knows what it is made of.
"""
