"""`treescale demo`: three servers on this machine, one of them killed, and nobody notices.

Needs no other software: the image is made of Python's own standard library, and the client is the
few requests that `docker push` and `docker pull` send. Everything lies in a temporary directory.
"""

from treescale.cli.demo.command import demo

__all__ = ["demo"]
