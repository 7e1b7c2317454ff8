"""What pages of content ask for: bounded statements on indexes, each for one screen."""
