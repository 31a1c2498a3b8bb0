"""papers_test.py ROOT: checks README.md and the other Markdown files of the project against the tree."""

import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(sys.argv.pop(1))
PAPERS = sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")) + sorted((ROOT / "bench").glob("*.md"))


class Papers(unittest.TestCase):
    def test_links_lead_somewhere(self):
        for paper in PAPERS:
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", paper.read_text()):
                with self.subTest(paper=paper.name, target=target):
                    self.assertTrue((paper.parent / target).exists())

    def test_files_named_in_code_spans_exist(self):
        """`src/plan/plan.cpp` in a text is a promise too."""
        top = "|".join(("include", "src", "cli", "bench", "tests", "examples", "docs", "scripts"))
        for paper in PAPERS:
            for target in re.findall(rf"`((?:{top})/[\w./-]*)`", paper.read_text()):
                with self.subTest(paper=paper.name, target=target):
                    self.assertTrue((ROOT / target).exists())

    def test_make_targets_exist(self):
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        for paper in PAPERS:
            for target in re.findall(r"`make ([a-z-]+)", paper.read_text()):
                with self.subTest(paper=paper.name, target=target):
                    self.assertIn(target, targets)

    def test_changelog_knows_the_version(self):
        header = (ROOT / "include/sprnn/version.hpp").read_text()
        version = ".".join(re.findall(r"SPRNN_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", header))
        self.assertRegex((ROOT / "CHANGELOG.md").read_text(), rf"(?m)^## \[{re.escape(version)}\]")


if __name__ == "__main__":
    unittest.main()
