"""A blob in and out: cut, named and put as it arrives; read ahead and sent in order."""
