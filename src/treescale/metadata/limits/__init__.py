"""What a namespace may have, asked in the transaction that would give it more."""
