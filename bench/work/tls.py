"""The same pulls over TLS: one certificate for all, HTTP/1.1, as Docker speaks it.

Python cannot choose TLS 1.3 ciphers, only OpenSSL's configuration can, and only before it is
loaded: bench/__main__.py starts itself anew with tls.cnf.
"""

import ssl
from pathlib import Path
from typing import Final

from bench.peers import certificate
from bench.registries import NAMED
from bench.rounds import side_by_side
from bench.rows import Effort, Row, at_least, at_most
from bench.work.layers import CPU_PULLED, STREAMS, Layer, pulled_by

CONFIGURATION: Final = Path(__file__).with_name("tls.cnf")
CIPHER: Final = "TLS_AES_128_GCM_SHA256"


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure MB/s of pulls."""
    layer = Layer(effort.layer_bytes)
    first = ssl.create_default_context().get_ciphers()[0]["name"]
    if first != CIPHER:
        raise RuntimeError(f"the clients offer {first} first, not {CIPHER}: is tls.cnf read?")
    with side_by_side(root, "tls", effort, certificate=certificate(root)) as targets:
        figures = targets.measure(effort.rounds, [layer.push, layer.pull])
    bar = at_least(1.0, NAMED)
    rows = [
        *(figures.row(pulled_by(streams), "MB/s", bar) for streams in STREAMS),
        figures.row(CPU_PULLED, "s/GB", at_most(1.0, NAMED), 3),
    ]
    for row in rows:
        row.work = f"{row.work}, over TLS"
    return rows
