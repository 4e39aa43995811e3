"""HTTP: the application, one module a resource, and the server that runs it."""
