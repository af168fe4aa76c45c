#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only
"""Every leaf of arch/sgx.h, and every outcome that docs/sdm-map.md gives it, has a row in a test.

The rows are read from tests/leaf/test_*.c: a "struct leaf_test" names the leaf, RUN_ROWS() its table,
and each row of that says how it ends.  A table of another kind says whose it is by a comment,
/* EGETKEY rows */.  Also fails when a row ends in a way that the page does not
give, and when a function or a test that the page names is not there.

  check_leaves.py [ROOT]
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
MAP = (ROOT / "docs/sdm-map.md").read_text()


def leaves():
    """Names of the three enums, in the manual's spelling."""
    text = (ROOT / "src/arch/sgx.h").read_text()
    for enum in ("sgx_encls", "sgx_enclu", "sgx_enclv"):
        body = re.search(r"enum %s \{(.*?)\}" % enum, text, re.S).group(1)
        yield from re.findall(r"SGX_(\w+) =", body)


def rows_of(text, table):
    body = re.search(r"\b%s\[\] = \{(.*?)\n?\s*\};" % table, text, re.S)
    return ends_of(body.group(1)) if body else set()


def ends_of(body):
    body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
    ends = set()
    for row in re.findall(r'\{\s*"(?:[^"\\]|\\.)*",(.*?)\}\s*(?=,|$)', body, re.S):
        code = re.search(r"(?:CODE\(|, *\n? *)SGX_(?!OK)([A-Z]\w+)\)?\s*$", row)
        fault = re.search(r"\b(GP|PF)\b|CPU_(UD)\b", row)
        ends.add(code.group(1) if code else "#" + (fault[1] or fault[2]) if fault else "OK")
    return ends


def tested():
    found = {}
    for path in sorted((ROOT / "tests/leaf").glob("test_*.c")):
        text = path.read_text()
        tests = dict(re.findall(r'struct leaf_test (\w+) = \{\s*(?:\.leaf = )?"(\w+)[^"]*"', text))
        for test, table in re.findall(r"RUN_ROWS\((\w+), (\w+)\)", text):
            if test in tests:
                found.setdefault(tests[test], set()).update(rows_of(text, table))
        for leaf, body in re.findall(r"/\* (\w+) rows \*/\n[^=]*= \{(.*?)\n\};", text, re.S):
            found.setdefault(leaf, set()).update(ends_of(body))
    return found


def documented():
    section = MAP.split("## Outcomes", 1)[1].split("\n## ", 1)[0]
    table = {}
    for names, ends in re.findall(r"^\| ([A-Z0-9, ]+) \| (.+?) \|$", section, re.M):
        for name in names.split(", "):
            table[name] = set(e.strip(" `") for e in ends.split(","))
    return table


def complaints():
    have, want = tested(), documented()
    absent = set(re.findall(r"^Absent: (\w+)", MAP, re.M))
    for leaf in leaves():
        if leaf in absent:
            continue
        if leaf not in want:
            yield f"{leaf}: not in the table of outcomes"
        for end in sorted(want.get(leaf, set()) - have.get(leaf, set())):
            yield f"{leaf}: no test ends with {end}"
        for end in sorted(have.get(leaf, set()) - want.get(leaf, set())):
            yield f"{leaf}: a test ends with {end}, which the page does not give"
    sources = "".join(p.read_text() for p in (ROOT / "src/cpu").glob("*.c"))
    for function in set(re.findall(r"`((?:encl[suv]|cpu)_\w+)(?:\(\))?`", MAP)):
        if not re.search(r"\b%s\(" % function, sources):
            yield f"{function}(): not in src/cpu"
    known = {p.name for p in (ROOT / "tests").rglob("*.c")}
    for test in set(re.findall(r"\b(?:test|fuzz)_\w+\.c\b", MAP)) - known:
        yield f"{test}: not there"


if __name__ == "__main__":
    if "--rows" in sys.argv[2:]:
        for leaf, ends in tested().items():
            print(f"| {leaf} | {', '.join(sorted(ends))} |")
        sys.exit(0)
    bad = list(complaints())
    for line in bad:
        print(line)
    sys.exit(1 if bad else 0)
