"""Numbers, with the machine and the peer named: ratios measured side by side in one run."""
