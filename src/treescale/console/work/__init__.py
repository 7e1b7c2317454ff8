"""What answers for what all servers go by, for servers and stores, and for work asked of them."""
