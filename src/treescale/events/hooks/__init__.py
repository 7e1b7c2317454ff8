"""Webhooks: what is sent for an event, to whom, when, and how often.

`formats`, `template`, `signing` and `schedule` are pure; `deliverer` reads the log and sends.
"""
