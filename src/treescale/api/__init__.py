"""The OCI Distribution API and the token service over HTTP."""
