"""The management API: `/api/v1`, JSON in and out, described by its own OpenAPI document.

`table.routes` is the table of all there is. Each row says who may ask, what comes in and what goes
out; the guard, the errors, the checks of bodies and the document are made of it. The command line
asks the same table, in process or by HTTP.
"""
