"""papers_test.py ROOT: checks README.md and the other Markdown files of the project against the tree."""

import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(sys.argv.pop(1))
PAPERS = [paper for pattern in ("*.md", "docs/**/*.md", "bench/*.md", "lab/*.md", "examples/*/*.md", "tests/gpu/*.md")
          for paper in sorted(ROOT.glob(pattern))]
FOLDERS = ("bench", "cli", "examples", "lab", "python", "src", "tests")  # with what CMake builds


def cmake_targets():
    """What CMake can be asked for by name, and the programs among it (libraries lie elsewhere than in build/bin)."""
    names, programs = set(), set()
    for folder in FOLDERS:
        for suffix in ("CMakeLists.txt", "*.cmake"):
            for file in sorted((ROOT / folder).rglob(suffix)):
                text = re.sub(r"#.*", "", file.read_text())
                programs |= set(re.findall(r"\b(?:add_executable|sprnn_test|sprnn_c_program)\(([\w-]+)", text))
                programs |= {f"fuzz_{name}" for name in re.findall(r"\bsprnn_fuzz\(([\w-]+)", text)}
                programs |= set(re.findall(r"OUTPUT_NAME ([\w-]+)", text))
                names |= set(re.findall(r"\b(?:add_library|add_custom_target)\(([\w-]+)", text))
    return names | programs, programs


class Papers(unittest.TestCase):
    def test_links_lead_somewhere(self):
        for paper in PAPERS:
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", paper.read_text()):
                with self.subTest(paper=paper.name, target=target):
                    self.assertTrue((paper.parent / target).exists())

    def test_every_page_is_linked_from_another(self):
        linked = {(paper.parent / target).resolve()
                  for paper in PAPERS for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", paper.read_text())
                  if (paper.parent / target).resolve() != paper.resolve()}
        for page in sorted((ROOT / "docs").rglob("*.md")):
            with self.subTest(page=page.name):
                self.assertTrue(page.resolve() in linked)

    def test_files_named_in_code_spans_exist(self):
        """`src/plan/plan.cpp` in a text is a promise too."""
        top = "|".join(("include", "src", "cli", "bench", "tests", "examples", "docs", "scripts", "lab", "cmake", "python"))
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

    def test_contributing_names_every_make_target(self):
        """But the default one, which is `make` alone, and the list of them."""
        listed = set(re.findall(r"`make ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text()))
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        self.assertEqual([], sorted(set(targets) - listed - {"build"}))

    def test_programs_and_targets_of_commands_exist(self):
        names, programs = cmake_targets()
        for paper in PAPERS:
            text = paper.read_text()
            for command in re.findall(r"cmake --build[^`\n]*--target((?: [\w-]+)+)", text):
                for target in command.split():
                    with self.subTest(paper=paper.name, target=target):
                        self.assertTrue(target in names)
            for program in re.findall(r"build/bin/([\w-]+)", text):
                with self.subTest(paper=paper.name, program=program):
                    self.assertTrue(program in programs)

    def test_changelog_knows_the_version(self):
        header = (ROOT / "include/sprnn/version.hpp").read_text()
        version = ".".join(re.findall(r"SPRNN_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", header))
        self.assertRegex((ROOT / "CHANGELOG.md").read_text(), rf"(?m)^## \[{re.escape(version)}\]")


if __name__ == "__main__":
    unittest.main()
