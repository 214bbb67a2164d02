"""Draw docs/images/training-{curves.png,sheet.jpg}, by running the commands of docs/train.md.

python docs/draw_training.py
"""

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

PAGE = Path(__file__).with_name("train.md")
OUT = Path(__file__).parent / "images"


def commands() -> list[list[str]]:
    """The commands of the page that run as they stand, without the name of the program."""
    [block] = re.findall(r"<!-- run -->\n```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    return [shlex.split(line)[1:] for line in block.splitlines()]


def run(folder: Path) -> None:
    """Run the commands in a folder."""
    for arguments in commands():
        command = [sys.executable, "-m", "torchattn_blocks.retina", *arguments]
        subprocess.run(command, cwd=folder, check=True)


def main() -> None:
    """Draw the figures."""
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder))
        (OUT / "training-curves.png").write_bytes(Path(folder, "runs/mine/curves.png").read_bytes())
        with Image.open(Path(folder, "runs/scores/synthetic-0004.png")) as sheet:
            sheet.convert("RGB").save(OUT / "training-sheet.jpg", quality=90)


if __name__ == "__main__":
    main()
