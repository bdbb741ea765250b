"""The audit trail's form: records in hash chains, signed statements about them, files, and the proof of both."""
