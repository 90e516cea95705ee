"""TLS by files of a certificate and its key, which may be exchanged while the service runs."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path

from service.errors import SettingsError

_log = logging.getLogger("attend")

_CERTIFICATE, _KEY = "ATTEND_TLS_CERTIFICATE", "ATTEND_TLS_KEY"
_Seen = tuple[tuple[int, int, int] | None, ...]


class Certificate:
    """What a server shows its clients: always the last pair of files that fitted together."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        """Raises `SettingsError` if the files cannot be used."""
        self._certificate = certificate
        self._key = key or certificate
        self._seen = self._used = self._look()
        self._newest = self._load()
        self.context = self._load()
        """For the listener; each handshake goes on with the newest."""
        self.context.sni_callback = self._give_newest

    def renew(self) -> None:
        """Take new files if there are any; call it every second or so.

        They have to lie still from one look to the next, for the two are seldom written at once. Files that cannot be
        used are logged once, and the old ones stay in use.
        """
        seen, self._seen = self._look(), self._seen
        if seen != self._seen or seen == self._used:
            self._seen = seen
            return
        self._used = seen
        try:
            self._newest = self._load()
        except SettingsError as error:
            _log.error("the new certificate is not used, the old one still is: %s", error)
        else:
            _log.info("there is a new certificate")

    def _give_newest(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """Called when a client has said whom it wants, and also if it has not."""
        connection.context = self._newest

    def _look(self) -> _Seen:
        return tuple(map(_identity, (self._certificate, self._key)))

    def _load(self) -> ssl.SSLContext:
        _check(_CERTIFICATE, self._certificate, b"-----BEGIN CERTIFICATE-----", "certificate")
        _check(_KEY, self._key, b"PRIVATE KEY-----", "private key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            # A key with a passphrase would have it asked for on the terminal.
            context.load_cert_chain(self._certificate, self._key, password=_no_passphrase)
        except _EncryptedKeyError:
            raise SettingsError(f"{_KEY}={self._key}: the key has a passphrase, which nobody could enter") from None
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                message = f"{_KEY}={self._key} is not the key of {_CERTIFICATE}={self._certificate}"
                raise SettingsError(message) from None
            reason = (error.reason or str(error)).lower().replace("_", " ")
            raise SettingsError(f"{_CERTIFICATE}={self._certificate} and its key cannot be used: {reason}") from None
        except OSError as error:  # gone since it was checked
            raise SettingsError(f"{_CERTIFICATE}={self._certificate}: {error.strerror}") from None
        return context


class _EncryptedKeyError(Exception):
    pass


def _no_passphrase() -> str:
    raise _EncryptedKeyError


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _check(variable: str, path: Path, mark: bytes, what: str) -> None:
    """Say which of the two files is wrong, which OpenSSL does not."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{variable}={path}: {error.strerror}") from None
    if mark not in content:
        raise SettingsError(f"{variable}={path} holds no {what} in PEM form")
