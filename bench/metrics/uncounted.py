"""`treescale` whose workers count nothing for `/metrics`: what the other one is held against."""

from collections.abc import Callable
from typing import Any

from treescale.cli.main import main
from treescale.server import worker


def without_meters(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same, told of no meters."""

    def made(*args: Any, **options: Any) -> Any:
        return make(*args, **{**options, "meters": None})

    return made


if __name__ == "__main__":
    for name in ("new_connections", "Dispatcher", "opened"):
        setattr(worker, name, without_meters(getattr(worker, name)))
    main()
