"""How statements run on either database, and what its errors mean. It knows no table's noun."""
