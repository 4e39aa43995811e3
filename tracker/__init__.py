"""The tracker: an HTTP service that accepts events for accounts and commits them to the event log."""
