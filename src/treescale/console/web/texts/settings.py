"""What pages say of what namespaces and repositories are set to."""

from collections.abc import Mapping
from typing import Final

SETTINGS: Final[Mapping[str, str]] = {}
