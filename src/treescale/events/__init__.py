"""The log of events as it lives: numbered, followed, filtered, and shown to whom it may be.

    write ── records ──► metadata/events ── numbered by ──► publisher
                                                               │ wakes (signals): this server's
                                                               │ workers, then the other servers
                              live: reads the log once ◄───────┘
                                     │  fan_out: a bounded queue for each follower
                                     └─► filters, rights ──► rows ──► whoever follows

What is heard is a hint to look sooner; the log itself, looked at every second, is the truth.
`hooks` tells others of it by HTTP, and reads the log from each webhook's own place.
"""
