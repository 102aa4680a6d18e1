"""What is wrong when TLS is not agreed upon, said by what somebody has to mend."""

from __future__ import annotations

import ssl

# Of OpenSSL: what the other side says of the client's certificate, and what it says where it speaks no TLS.
_OF_THE_CLIENT = ("ALERT_CERTIFICATE_REQUIRED", "ALERT_BAD_CERTIFICATE", "ALERT_UNKNOWN_CA", "ALERT_HANDSHAKE_FAILURE",
                  "ALERT_CERTIFICATE_UNKNOWN", "ALERT_CERTIFICATE_EXPIRED", "ALERT_ACCESS_DENIED")  # fmt: skip
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


def tls_trouble(error: BaseException, service: str) -> str | None:
    """What is wrong with TLS, and its remedy; None where something else is, or what may pass.

    `service` is who was to answer. Settings are called by their names in a connection.
    """
    found = _ssl_error(error)
    if found is None:
        return None
    if isinstance(found, ssl.SSLCertVerificationError):
        return (
            f"the {service}'s certificate is not trusted ({found.verify_message}). Name the CA that signed it in "
            "`verify`, and take a host name that the certificate has"
        )
    reason = found.reason or ""
    if reason.endswith(_OF_THE_CLIENT):
        return (
            f"the {service} does not accept the client's certificate, or the lack of one "
            f"({_words(reason)}). Name a certificate that it knows in `client_cert`, and its key in `client_key`"
        )
    if reason.endswith(_NO_TLS):
        return f"what answers there speaks no TLS ({_words(reason)}). Is the scheme http, or the port another?"
    return None


def _words(reason: str) -> str:
    return reason.replace("_", " ").lower()


def _ssl_error(error: BaseException | None) -> ssl.SSLError | None:
    """The error of TLS that another one was made of."""
    for _ in range(10):
        if error is None or isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None
