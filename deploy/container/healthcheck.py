"""Whether the server in this container answers: GET /healthz at the first address it listens on.

Ends with 0 or 1, as HEALTHCHECK has it. A port with TLS answers plain HTTP with 400, and is then
asked with TLS; whose certificate it has makes no difference on the loopback. A socket file is not
asked: where that is the only address, run the container with a check of your own.
"""

import http.client
import os
import ssl
import sys

SECONDS_MAX = 4.0
ANYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  where it listens, not we


def address() -> str:
    """Return host and port to ask."""
    listen = os.environ.get("TREESCALE_LISTEN", "").split(",")
    first = next((each for each in listen if not each.startswith("unix:")), "")
    host, _, port = first.rpartition(":")
    return f"{ANYWHERE.get(host, host)}:{port}"


def status(connection: http.client.HTTPConnection) -> int:
    """Return what it answers."""
    connection.request("GET", "/healthz")
    return connection.getresponse().status


def main() -> int:
    """Return the status to end with."""
    where = address()
    try:
        found = status(http.client.HTTPConnection(where, timeout=SECONDS_MAX))
        if found == http.client.BAD_REQUEST:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            tls = http.client.HTTPSConnection(where, timeout=SECONDS_MAX, context=context)
            found = status(tls)
    except (OSError, http.client.HTTPException) as error:
        sys.stderr.write(f"{where}: {error}\n")
        return 1
    sys.stdout.write(f"{where}: {found}\n")
    return 0 if found == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main())
