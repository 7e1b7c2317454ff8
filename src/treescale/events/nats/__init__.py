"""Each event as a message in a stream of NATS JetStream, for whoever has one (`treescale[nats]`).

`subjects` says where a message goes, and which stream will do (pure); `sink` sends.
"""
