"""Forged records: whatever is in the store, a command ends with an error of tclog's, or well."""
