"""Run the checks on the networks of the installed libraries, and write the results to docs/hosts.

PYTHONPATH=. .venv-peers/bin/python tests/hosts/record_hosts.py
"""

import importlib
import json
import re
from collections import Counter

import torch
from checks import CHECKS
from hosts import CASES, ROOT, Case, import_torchvision, original

from torchattn_blocks import changes

FOLDER = ROOT / "docs" / "hosts"


def result(case: Case, check: str) -> str:
    """What a check returned, or the first line of its error."""
    try:
        return CHECKS[check](case)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"


def inserted(case: Case) -> str:
    """What was put into a network, and how often."""
    model = case.changed(original(case))
    names = []
    for change in changes(model):
        layer = getattr(model.get_submodule(change.name), "layer", None)  # of IdentityStart
        inner = f"({type(layer).__name__})" if layer is not None else ""
        names.append(f"{change.layer}{inner} {change.how.split()[0]}")
    words = {"instead": " instead of a layer", "after": "", "before": " before a layer"}
    parts = []
    for name, count in Counter(names).items():
        layer, _, how = name.rpartition(" ")
        parts.append(f"{count} {layer}{words[how]}")
    return ", ".join(parts)


def row(case: Case) -> dict[str, str]:
    version = re.sub(r"\+.*", "", importlib.import_module(case.library).__version__)
    facts = {
        "network": case.name,
        "library": f"{case.library} {version}",
        "inserted": inserted(case),
    }
    return facts | {check: result(case, check) for check in CHECKS}


def main() -> None:
    import_torchvision()
    rows = [row(case) for case in CASES]
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([r[n].replace("|", "/") for n in names] for r in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    caption = f"*Measured with torch {torch.__version__} by `tests/hosts/record_hosts.py`.*"
    (FOLDER / "results.md").write_text(f"{table}\n\n{caption}\n")
    recorded = {"torch": torch.__version__, "results": rows}
    (FOLDER / "results.json").write_text(json.dumps(recorded, indent=1) + "\n")
    print(table)


if __name__ == "__main__":
    main()
