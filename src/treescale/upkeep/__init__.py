"""What keeps a cluster in order: who belongs to it, and which layout follows from that."""
