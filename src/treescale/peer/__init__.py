"""Both ends of the wire between servers, and how one notices that another is gone.

Trusted is the cluster's key, never an address. Each wait has a limit, and each answer is signed.
"""
