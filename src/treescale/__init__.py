"""TreeScale: a self-hosted container registry whose storage is spread over servers."""

__version__ = "0.2.0"
