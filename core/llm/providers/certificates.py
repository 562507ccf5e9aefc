"""Which certificates a client trusts: those of the environment's SSL_CERT_FILE or SSL_CERT_DIR, else the system's."""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from core.llm.providers.base import ErrorKind, ProviderError

BUNDLES = (
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/ca-bundle.pem",
)
"""Where distributions have all of them in one file, for a Python that was built elsewhere."""


def trust(environment: Mapping[str, str]) -> ssl.SSLContext:
    """A client's context. Raises ProviderError(MISCONFIGURED) that names the variable when it has no certificates."""
    file, directory = environment.get("SSL_CERT_FILE"), environment.get("SSL_CERT_DIR")
    try:
        if file:
            return ssl.create_default_context(cafile=file)
        if directory:
            if not Path(directory).is_dir():  # one without certificates trusts nobody, and is no error
                raise ProviderError(ErrorKind.MISCONFIGURED, "SSL_CERT_DIR names no directory")
            return ssl.create_default_context(capath=directory)
        return _trusting_the_system()
    except (OSError, ValueError):
        variable = "SSL_CERT_FILE" if file else "SSL_CERT_DIR" if directory else "the system's store"
        raise ProviderError(ErrorKind.MISCONFIGURED, f"{variable} holds no certificates that can be read") from None


def _trusting_the_system() -> ssl.SSLContext:
    paths = ssl.get_default_verify_paths()
    # In a directory of hashes OpenSSL looks names up as it needs them; a file is read whole.
    if any(Path(paths.openssl_capath).glob("*.0")):
        return ssl.create_default_context(capath=paths.openssl_capath)
    bundle = next(filter(os.path.isfile, (paths.openssl_cafile, *BUNDLES)), None)
    return ssl.create_default_context(cafile=bundle)
