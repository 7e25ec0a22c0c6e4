"""A process that asks AWS for credentials and prints them as `credential_process` does.

`python -m hardtack.source.credential_helper [PROFILE]`. botocore lives and dies here.
"""

from __future__ import annotations

import json
import sys

MISSING = (
    "these credentials come from a service that botocore speaks to, which isn't installed: "
    "pip install 'hardtack[aws]'"
)


def main(arguments: list[str]) -> int:
    """0 with JSON on stdout, else 1 with a line on stderr."""
    try:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.session import Session
    except ImportError:
        sys.stderr.write(f"{MISSING}\n")
        return 1
    try:
        session = Session(profile=arguments[0] if arguments else None)
        credentials = session.get_credentials()
        if credentials is None:
            sys.stderr.write("botocore found no credentials\n")
            return 1
        frozen = credentials.get_frozen_credentials()
    except (BotoCoreError, ClientError) as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return 1
    found = {
        "Version": 1,
        "AccessKeyId": frozen.access_key,
        "SecretAccessKey": frozen.secret_key,
        "SessionToken": frozen.token,
    }
    # botocore has no public name for the time when refreshable credentials expire
    expires = getattr(credentials, "_expiry_time", None)
    if expires is not None:
        found["Expiration"] = expires.isoformat()
    sys.stdout.write(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
