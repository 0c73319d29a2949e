"""Record what the commands leave behind at this commit: python tests/golden/record.py.

Everything runs twice, in two processes; nothing is written unless both agree.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]


def measure(root):
    """Run every case below a folder and print its hashes as JSON, behind what commands say."""
    import digests
    import yardstick

    shop = yardstick.Workshop(root)
    found = {yardstick.FINGERPRINT: digests.fingerprint(shop.model)}
    for case in yardstick.CASES:
        found[case] = digests.digests(shop.run(case))
    (root / yardstick.EXPECTED.name).write_text(json.dumps(found, indent=1) + "\n")


def main():
    """Measure twice, compare, write."""
    texts = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as root:
            subprocess.run([sys.executable, __file__, root], check=True, stdout=subprocess.DEVNULL)
            texts.append((Path(root) / "expected.json").read_text())
    first, second = map(json.loads, texts)
    differ = [case for case in first if first[case] != second[case]]
    if differ:
        sys.exit(f"two runs differ in {', '.join(differ)}: nothing recorded")
    (HERE / "expected.json").write_text(texts[0])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(Path(sys.argv[1]))
    else:
        main()
