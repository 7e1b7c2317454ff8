"""What pages say of the cluster."""

from collections.abc import Mapping
from typing import Final

OPERATOR: Final[Mapping[str, str]] = {}
