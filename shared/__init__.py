"""What tracker and listener both stand on: events, the event log, supervision, options, embedded servers."""
