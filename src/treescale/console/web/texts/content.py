"""What pages say of home, search, repositories and images."""

from collections.abc import Mapping
from typing import Final

CONTENT: Final[Mapping[str, str]] = {}
