"""What schemathesis has to know of this API beside its document. Loaded by it, not by pytest."""

import schemathesis

schemathesis.serializer.alias("application/x-ndjson", "text/plain")
