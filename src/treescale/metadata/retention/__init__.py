"""Rules for tags, kept; what they have to know of tags; and tags that are removed by them."""
