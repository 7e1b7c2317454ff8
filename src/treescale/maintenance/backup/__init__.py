"""All metadata as one portable stream: its format, and the way out of a database and into one."""
