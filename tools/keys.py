"""attend keys add|list|revoke: the file of keys, which a running service reads again when it changes."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from model.arguments import positive
from service.access.key_file import check_rates, read_keys, write_keys
from service.access.keys import Key, KeyRing, UnusableKeysError, check, digest_of, new_key
from service.access.rights import RIGHTS, Right, parse_rights

_FILE = "ATTEND_KEYS_FILE"


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`keys` with its three words."""
    keys = commands.add_parser("keys", help="who may use the service: add, list or revoke keys")
    words = keys.add_subparsers(title="commands", required=True)
    add = words.add_parser("add", help="make a key, print it once, and keep its hash")
    add.set_defaults(run_command=_add)
    add.add_argument("name", help="whose it is: letters, digits and . _ @ -")
    add.add_argument(
        "--rights", type=_rights, default=("translate",), help=f"of {', '.join(RIGHTS)}; default translate"
    )
    add.add_argument("--requests", help="a rate of its own, such as 100/minute")
    add.add_argument("--characters", help="likewise")
    add.add_argument("--sentences", type=positive, help="that run at once")
    add.add_argument("--quota", type=positive, help="characters a month")
    add.add_argument("--print-only", action="store_true", help="change no file; print an entry for ATTEND_KEYS")
    listed = words.add_parser("list", help="print names, rights and days; no key can be shown again")
    listed.set_defaults(run_command=_list)
    revoke = words.add_parser("revoke", help="take keys away, by their names")
    revoke.set_defaults(run_command=_revoke)
    revoke.add_argument("names", nargs="+", metavar="name")
    for parser in (add, listed, revoke):
        parser.add_argument("--file", type=Path, help=f"the file of keys; default {_FILE}")


def _rights(text: str) -> tuple[Right, ...]:
    try:
        return parse_rights(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _add(options: argparse.Namespace) -> None:
    secret = new_key()
    key = Key(
        name=options.name,
        digest=digest_of(secret),
        rights=options.rights,
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        requests=options.requests,
        characters=options.characters,
        sentences=options.sentences,
        quota=options.quota,
    )
    check_rates(check(key))
    if options.print_only:
        if (options.requests, options.characters, options.sentences, options.quota) != (None,) * 4:
            raise UnusableKeysError("rates and quotas of one key need the file: ATTEND_KEYS has room for rights only")
        print(f"the entry for ATTEND_KEYS: {key.name}:{'+'.join(key.rights)}:{key.digest}")
    else:
        with _changing(_path(options)) as keys:
            keys.append(key)
            KeyRing(keys)  # refuses a name that there is
    print(f"the key of {key.name}, which is shown only now: {secret}")


def _list(options: argparse.Namespace) -> None:
    for key in read_keys(_path(options)):
        limits = {
            "requests": key.requests,
            "characters": key.characters,
            "sentences": key.sentences,
            "quota": key.quota,
        }
        own = "".join(f" {name}={value}" for name, value in limits.items() if value is not None)
        print(f"{key.name}\t{','.join(key.rights)}\t{key.created}\t{key.digest[:12]}{own}")


def _revoke(options: argparse.Namespace) -> None:
    with _changing(_path(options)) as keys:
        unknown = set(options.names) - {key.name for key in keys}
        if unknown:
            raise UnusableKeysError(f"there is no key '{min(unknown)}'")
        keys[:] = [key for key in keys if key.name not in options.names]
    print(f"revoked: {', '.join(options.names)}")


def _path(options: argparse.Namespace) -> Path:
    path = options.file or os.environ.get(_FILE)
    if not path:
        raise UnusableKeysError(f"which file? {_FILE} or --file says it")
    return Path(path)


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[list[Key]]:
    """The keys of a file, which are written when the context ends well; two commands at once wait for each other."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UnusableKeysError(f"{path} cannot be written: {error.strerror or error}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        keys = read_keys(path) if path.exists() else []
        yield keys
        write_keys(path, keys)
    finally:
        os.close(descriptor)
