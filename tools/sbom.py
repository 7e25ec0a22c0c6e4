"""What an image holds, as SPDX 2.3: Debian's packages and Python's. Run inside the image.

https://spdx.github.io/spdx-spec/v2.3/
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from importlib.metadata import distributions
from typing import Any


def packages() -> list[tuple[str, str, str]]:
    """(package URL, name, version) of each package, sorted."""
    listed = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${Version} ${Architecture}\n"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    found = []
    for line in listed.splitlines():
        name, version, architecture = line.split()
        found.append((f"pkg:deb/debian/{name}@{version}?arch={architecture}", name, version))
    for one in distributions():
        name = re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower()
        found.append((f"pkg:pypi/{name}@{one.version}", name, one.version))
    return sorted(set(found))


def document(found: list[tuple[str, str, str]]) -> dict[str, Any]:
    """The SPDX document; the same packages give the same document."""
    stamp = hashlib.sha256("\n".join(url for url, _, _ in found).encode()).hexdigest()
    ids = [f"SPDXRef-{n}" for n in range(len(found))]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "hardtack",
        "documentNamespace": f"https://spdx.org/spdxdocs/hardtack-{stamp}",
        "creationInfo": {"created": "1970-01-01T00:00:00Z", "creators": ["Tool: hardtack-sbom"]},
        "documentDescribes": ids,
        "packages": [
            {
                "SPDXID": number,
                "name": name,
                "versionInfo": version,
                "downloadLocation": "NOASSERTION",
                "filesAnalyzed": False,
                "externalRefs": [
                    {
                        "referenceCategory": "PACKAGE-MANAGER",
                        "referenceType": "purl",
                        "referenceLocator": url,
                    }
                ],
            }
            for number, (url, name, version) in zip(ids, found, strict=True)
        ],
    }


if __name__ == "__main__":
    print(json.dumps(document(packages()), indent=1))
