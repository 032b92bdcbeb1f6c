"""The commit protocol over real clients and servers: lost replies, outages, request budgets."""
