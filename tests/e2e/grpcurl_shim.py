"""Stands in for grpcurl where it cannot be had: the few forms that the documentation uses, over reflection."""

from __future__ import annotations

import argparse
import json
import sys

from tests.e2e.person import Reflecting, Refused


def main() -> int:
    """Reads grpcurl's arguments, does what they say, and exits as it would."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-plaintext", action="store_true")
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-d", default="{}")
    parser.add_argument("address")
    parser.add_argument("what")
    arguments = parser.parse_args()
    person = Reflecting(arguments.address)
    if arguments.what == "list":
        print("\n".join(person.services()))
        return 0
    tokens = [header.partition("Bearer ")[2] for header in arguments.H]
    try:
        answer = person.call(arguments.what, json.loads(arguments.d), *tokens)
    except Refused as error:
        print(f"ERROR:\n  Code: {error.code}\n  Message: {error.details}", file=sys.stderr)
        return 64
    print(json.dumps(answer, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
