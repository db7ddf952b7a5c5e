"""Takes the audit log to where officers already work: OCSF, syslog, CSV and Parquet. The log stays the truth.

Every record carries the log's origin and the entry's index, so that what is delivered twice is recognised,
and the hash of the entry, by which it is found in the log again.
"""
