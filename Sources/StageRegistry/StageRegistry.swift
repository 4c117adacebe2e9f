// The client of the OCI distribution protocol.
import AsyncHTTPClient
