#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only
"""Fail when a file or a function is too long to be read in one go; name files to look at again.

usage: check_sizes.py FOLDER...

Functions are found by the house style: a line that is '{' alone begins one, a line that is '}' alone
ends it. Tables that grow by rows (tests) are files, not functions, and may be longer.
"""

import pathlib
import sys

FILE_AGAIN = 600  # look again: does it own one noun?
FILE_MAX = 900
TEST_FILE_MAX = 1000
FUNCTION_MAX = 70


def functions(lines):
    """(first line, length, header line) of each function body."""
    begin = None
    for number, line in enumerate(lines):
        if line == "{":
            begin = number
        elif line == "}" and begin is not None:
            yield begin, number - begin - 1, lines[begin - 1]
            begin = None


def check(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    limit = TEST_FILE_MAX if "tests" in path.parts else FILE_MAX
    bad = 0
    if len(lines) > limit:
        print(f"{path}: {len(lines)} lines, {limit} at most")
        bad += 1
    elif len(lines) > FILE_AGAIN and "tests" not in path.parts:
        print(f"{path}: {len(lines)} lines, look again (fails above {limit})")
    for begin, length, header in functions(lines):
        if length > FUNCTION_MAX:
            print(f"{path}:{begin}: {length} lines, {FUNCTION_MAX} at most: {header.strip()}")
            bad += 1
    return bad


def main():
    bad = 0
    for folder in sys.argv[1:]:
        for path in sorted(pathlib.Path(folder).rglob("*.[ch]")):
            bad += check(path)
    return 1 if bad else 0


sys.exit(main())
