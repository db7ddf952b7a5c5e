"""The authority of a division: certificates, enrolment and the signed trust list."""
