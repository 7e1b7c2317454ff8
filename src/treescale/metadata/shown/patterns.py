"""What a user typed, as ranges and patterns have it. Pure."""


def as_pattern(text: str) -> str:
    """Return text for LIKE that stands for itself, with a backslash as the escape."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def end_of(begin: str) -> str:
    """Return the first text by bytes after all that begin with this one, which is not empty."""
    return begin[:-1] + chr(ord(begin[-1]) + 1)
