"""Write requirements.lock and envs/*.yaml from requirements.in and the installed distributions.

One source for all pins: the lock holds every group, an environment file the groups core and its own. Run through
`make lock`, in the environment whose versions are to be pinned.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
#: Installed apart, see the Makefile and envs/*.post-deploy.sh.
PYRADIOMICS = "pyradiomics==3.0.1"
#: Group of an environment file beside core, and whether pyradiomics is built in it (which needs a C compiler).
ENVIRONMENTS = {"convert": False, "models": True, "segment": False}
HEADER = "# Written by `make lock` from requirements.in. Python 3.11.\n"


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def groups() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("["):
            found[line.strip("[]")] = []
        elif line:
            found[list(found)[-1]].append(line)
    return found


def closure(names: list[str]) -> dict[str, str]:
    """Pins of distributions and of all that they need; accelerator packages are left to torch itself."""
    pins: dict[str, str] = {}
    todo = [(name, frozenset[str]()) for name in names]
    seen = set()
    while todo:
        name, extras = todo.pop()
        if (canonical(name), extras) in seen or canonical(name).startswith(("nvidia-", "triton", "cuda-")):
            continue
        seen.add((canonical(name), extras))
        distribution = metadata.distribution(name)
        pins[canonical(name)] = f"{distribution.metadata['Name']}=={distribution.version.split('+')[0]}"
        for text in distribution.requires or ():
            needed = Requirement(text)
            wanted = [
                extra for extra in ("", *extras) if needed.marker is None or needed.marker.evaluate({"extra": extra})
            ]
            if wanted:
                todo.append((needed.name, frozenset(needed.extras)))
    return pins


def lock_text() -> str:
    pins = closure([name for names in groups().values() for name in names])
    lines = [pins[key] for key in sorted(pins)]
    note = "# Then: pip install --no-build-isolation --no-deps " + PYRADIOMICS + "\n"
    return HEADER + note + "\n".join(lines) + "\n"


def environment_text(name: str) -> str:
    radiomics = ENVIRONMENTS[name]
    members = groups()
    pins = closure([*members["core"], *members[name]])
    compiler = ["c-compiler"] if radiomics else []
    content = {
        "channels": ["conda-forge", "nodefaults"],
        "dependencies": ["python=3.11", "pip", *compiler, {"pip": [pins[key] for key in sorted(pins)]}],
    }
    built = f"# {PYRADIOMICS} is built in {name}.post-deploy.sh.\n" if radiomics else ""
    return HEADER + built + yaml.safe_dump(content, sort_keys=False)


def post_deploy_text() -> str:
    return (
        "#!/usr/bin/env bash\n"
        "# Runs in the activated environment: pyradiomics has no wheel, and its build needs this environment's numpy.\n"
        "set -euo pipefail\n"
        f"python -m pip install --no-build-isolation --no-deps {PYRADIOMICS}\n"
    )


def files() -> dict[Path, str]:
    """Every file that this script owns, with its text."""
    made = {ROOT / "requirements.lock": lock_text()}
    for name, radiomics in ENVIRONMENTS.items():
        made[ROOT / "envs" / f"{name}.yaml"] = environment_text(name)
        if radiomics:
            made[ROOT / "envs" / f"{name}.post-deploy.sh"] = post_deploy_text()
    return made


def main() -> int:
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
