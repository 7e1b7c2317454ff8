"""Both ends of the wire between servers, and how one notices that another is gone."""
