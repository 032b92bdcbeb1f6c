"""Big logs for tests and measurements."""
