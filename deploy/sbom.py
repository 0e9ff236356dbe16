#!/usr/bin/env python3
"""What is in the binary, as CycloneDX 1.5 (ECMA-424): the commit, and the Debian package and version of each library
that it is linked with.

    deploy/sbom.py build/mete >build/mete.cdx.json"""

import json
import re
import subprocess
import sys
import uuid


def run(*command):
    return subprocess.run(command, text=True, capture_output=True, check=True).stdout


def libraries(binary):
    return sorted(set(re.findall(r"=> (/\S+)", run("ldd", binary))))


def package_of(path):
    """(package, version, architecture, source) that a file belongs to; None: of no package."""
    for name in (path, path.removeprefix("/usr"), "/usr" + path):
        done = subprocess.run(["dpkg-query", "-S", name], text=True, capture_output=True)
        if done.returncode == 0:
            package = done.stdout.split(": ")[0].split(",")[0]
            return run("dpkg-query", "-W", "-f", "${Package} ${Version} ${Architecture} ${source:Package}", package).split()
    return None


def component(path):
    found = package_of(path)
    if not found:
        return {"type": "library", "name": path.rsplit("/", 1)[-1], "bom-ref": path}
    name, version, architecture, source = found
    purl = f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}?arch={architecture}"
    return {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl,
            "properties": [{"name": "debian:source", "value": source}]}


def main():
    binary = sys.argv[1]
    version = run(binary, "version").split("\n")[0].split()[1]
    parts = {part["bom-ref"]: part for part in map(component, libraries(binary))}
    json.dump({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, 'mete ' + version + ' ' + ' '.join(parts))}",
        "metadata": {"component": {"type": "application", "name": "mete", "version": version, "bom-ref": "mete"}},
        "components": list(parts.values()),
        "dependencies": [{"ref": "mete", "dependsOn": sorted(parts)}],
    }, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
