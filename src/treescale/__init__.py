"""TreeScale: a self-hosted container registry whose storage is spread over servers."""

__version__ = "0.1.0"
