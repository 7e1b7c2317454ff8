"""Prints what this process finds as it starts: `python -m tests.functional.facts WORD …`."""

import json
import os
import resource
import sys
from pathlib import Path
from typing import Final

STREAM: Final = ("encoding", "errors", "line_buffering", "write_through")

if __name__ == "__main__":
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines()
    )
    streams = sys.stdin, sys.stdout, sys.stderr
    print(  # noqa: T201  it is what this is for
        json.dumps(
            {
                "arguments": [sys.argv[1:], sys.orig_argv],
                "path": sys.path,
                "environment": dict(os.environ),
                "directory": str(Path.cwd()),
                "descriptors": sorted(
                    int(each.name) for each in Path("/proc/self/fd").iterdir() if each.exists()
                ),
                "signals": [status[name] for name in ("SigBlk", "SigIgn", "SigCgt", "ShdPnd")],
                "threads": status["Threads"],
                "name": status["Name"],
                "umask": status["Umask"],
                "leads": [os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid()],
                "network": str(Path("/proc/self/ns/net").readlink()),
                "mounts": str(Path("/proc/self/ns/mnt").readlink()),
                "files": resource.getrlimit(resource.RLIMIT_NOFILE),
                "streams": [[getattr(each, name) for name in STREAM] for each in streams],
                "read": sys.stdin.read(),
                "module": getattr(sys.modules["__main__"].__spec__, "name", ""),
            }
        )
    )
