"""The page: the fleet in a browser, metrics and health.

What it shows it reads from the status branch, like any command: in the agent's own process, too. A
pass never waits for it, and nothing is read or computed unless somebody looks. Views are pure
functions from what was read to what is shown; the same view is a page or JSON. Only this package
knows Starlette, uvicorn and Prometheus' client, and nobody but `cli` knows this package.
"""
