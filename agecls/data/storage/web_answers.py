"""What becomes of a web server's answers and failures: tried again, or told in one sentence that holds no secret.

The texts of urllib3 repeat whole addresses with their signatures, so none of them is passed on.
"""

import errno
import socket
import ssl
from http.client import HTTPException, responses

from urllib3 import BaseHTTPResponse, Retry
from urllib3.exceptions import (
    HTTPError,
    IncompleteRead,
    NameResolutionError,
    NewConnectionError,
    SSLError,
)
from urllib3.exceptions import (
    TimeoutError as Urllib3TimeoutError,
)

from agecls.data.storage.store import PassingError
from agecls.errors import StorageError

FAILURES = (HTTPError, HTTPException, OSError)
"""What urllib3 raises for a request or a body that fails."""


def refuse_status(answer: BaseHTTPResponse, name: str) -> None:
    """Raise for an answer that is neither the content nor a redirection.

    Args:
        answer: its status is 400 or more.
        name: of what was asked for, without its query.

    Raises:
        PassingError: it may be another one next time.
        StorageError: it will not.
    """
    status = answer.status
    got = f"the server answers {status} {responses.get(status, '')}".rstrip()
    if status in (408, 425, 429) or status >= 500:
        raise PassingError(got, Retry(0).get_retry_after(answer))
    match status:
        case 401 | 403:
            raise StorageError(
                f"{name} may not be read",
                got=got,
                remedy="a signed address may have expired: make a new one; from a private bucket pull by b2://BUCKET/KEY",
            )
        case 404 | 410:
            raise StorageError(f"{name} is not there", got=got, remedy="look at the spelling of the address")
        case _:
            raise StorageError(
                f"{name} cannot be read", got=got, remedy="look at the address in a browser or with curl"
            )


def failure(error: Exception, host: str, *, first: bool) -> PassingError | StorageError:
    """The error to raise for a connection that could not be made or that broke.

    Args:
        error: one of ``FAILURES``.
        host: it was made to, with the port where one was given.
        first: whether nothing has been read from there yet, so that a wrong name is likelier than a passing trouble.
    """
    causes = _causes(error)
    certificate = next((each for each in causes if isinstance(each, ssl.SSLCertVerificationError)), None)
    if certificate is not None:
        return StorageError(
            f"the certificate of {host} is not to be trusted",
            got=certificate.verify_message,
            remedy="look at the host's name and this machine's clock; SSL_CERT_FILE names further authorities",
        )
    if any(isinstance(each, NameResolutionError | socket.gaierror) for each in causes):
        passing = any(isinstance(each, socket.gaierror) and each.errno == socket.EAI_AGAIN for each in causes)
        if first and not passing:
            return StorageError(
                f"there is no host {host}",
                got="its name cannot be resolved",
                remedy="look at the spelling, and whether this machine reaches the internet",
            )
        return PassingError(f"the name of {host} cannot be resolved")
    if any(isinstance(each, ConnectionRefusedError) for each in causes):
        if first:
            return StorageError(
                f"{host} refuses the connection",
                got="nothing listens there, or a firewall is between",
                remedy="look at host and port, and whether the server runs",
            )
        return PassingError(f"{host} refuses the connection")
    if any(isinstance(each, SSLError | ssl.SSLError) for each in causes):
        if first:
            return StorageError(
                f"{host} does not speak https",
                got="the encrypted connection could not be set up",
                remedy="look at the port",
            )
        return PassingError(f"the encrypted connection to {host} broke")
    if any(isinstance(each, OSError) and each.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH) for each in causes):
        return PassingError(f"there is no way to {host}")
    if any(isinstance(each, NewConnectionError) for each in causes):
        return PassingError(f"no connection to {host}")
    if any(isinstance(each, Urllib3TimeoutError | TimeoutError) for each in causes):
        return PassingError(f"{host} has fallen silent")
    short = next((each for each in causes if isinstance(each, IncompleteRead)), None)
    if short is not None:
        return PassingError(f"{host} ended its answer early")
    return PassingError(f"the connection to {host} broke")


def _causes(error: BaseException) -> list[BaseException]:
    """The error and all that is behind it: its arguments, as urllib3 wraps them, its cause and its context."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseException) and not any(each is known for known in found):
            found.append(each)
            waiting += [*each.args, each.__cause__, each.__context__, getattr(each, "reason", None)]
    return found
