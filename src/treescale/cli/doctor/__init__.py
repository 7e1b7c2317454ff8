"""`treescale doctor`: what usually goes wrong, looked for, and what to do about each."""

from treescale.cli.doctor.command import doctor

__all__ = ["doctor"]
