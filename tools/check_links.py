#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only
"""Fail when a document links to a file that is not there, or when one of docs/ is not installed.

usage: check_links.py TOP
"""

import pathlib
import re
import sys


def broken_links(document):
    """The links of @document that lead nowhere, as text."""
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        path = target.partition("#")[0]
        if path and "://" not in path and not (document.parent / path).exists():
            yield f"{document}: there is no {target}"


def main():
    top = pathlib.Path(sys.argv[1])
    bad = []
    for document in sorted([*top.glob("*.md"), *top.glob("docs/*.md"), *top.glob("*/README.md"),
                            *top.glob("tests/*/README.md")]):
        bad += broken_links(document)
    installed = (top / "docs/meson.build").read_text(encoding="utf-8")
    bad += [f"{document}: docs/meson.build does not install it"
            for document in sorted(top.glob("docs/*.md")) if f"'{document.name}'" not in installed]
    print("\n".join(bad))
    return 1 if bad else 0


sys.exit(main())
