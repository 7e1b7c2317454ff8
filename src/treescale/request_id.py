"""Which client's request this code runs for, so that what it changes can say so.

The doors of the API set it; it goes along with the tasks that a request begins.
"""

from contextvars import ContextVar
from typing import Final

REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""As the log has it; "" for what no client's request does."""
CLIENT: Final[ContextVar[str]] = ContextVar("client", default="")
"""The address that it came from, or that a trusted proxy says; "" where there is none."""
