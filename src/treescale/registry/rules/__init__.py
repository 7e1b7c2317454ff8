"""Rules for tags: which tags go when, decided; and what people, and the cluster, do with that."""
