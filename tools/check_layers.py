#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only
"""Fail when a folder of src/ includes one that it may not use, or another's *_priv.h.

usage: check_layers.py SRC

MAY_USE is the picture in ARCHITECTURE.md, as data. The two arrows that must never exist, from epc to
an owner and from vepc to virt, are not in it.

NO_WORD_OF goes further: there is not even a word of what a folder must not know.
"""

import pathlib
import re
import sys

MAY_USE = {
    "base": "",
    "arch": "base",
    "crypto": "base arch",
    "cpu": "base arch crypto",
    "epc": "base arch cpu",
    "api": "base arch crypto cpu epc",
    "encl": "base arch cpu epc",
    "vepc": "base arch cpu epc",
    "virt": "base arch cpu epc vepc",
    "abi": "base arch cpu epc encl vepc",
    "runtime": "base arch cpu epc encl vepc abi",
    "vmm": "base arch cpu epc vepc virt",
    "cli": "base arch crypto cpu epc encl vepc virt abi runtime vmm",
}
# The memory manager knows no guest, raw EPC and the ioctls no hypervisor.
NO_WORD_OF = {
    "epc": r"guest|hypervisor|kvm|vmm|vcpu|vepc|virt/",
    "vepc": r"hypervisor|kvm|vmm|vcpu|virt/",
    "abi": r"hypervisor|kvm|vmm|vcpu|virt/",
}
# Libraries that only one folder may include.
ONLY = {r"openssl/|intel-ipsec-mb": "crypto", r"json-c/": "cli"}


def check_line(layer, line):
    """What is wrong with it, or None."""
    word = layer in NO_WORD_OF and re.search(NO_WORD_OF[layer], line, re.IGNORECASE)
    if word:
        return f"{layer}/ has a word of {word[0]}"
    inc = re.match(r'\s*#\s*include\s+["<]([^">]+)[">]', line)
    if not inc:
        return None
    for pattern, owner in ONLY.items():
        if re.match(pattern, inc[1]) and layer != owner:
            return f"{inc[1]} is for {owner}/ alone"
    folder, _, name = inc[1].partition("/")
    if folder == layer or folder not in MAY_USE or not name:
        return None
    if folder not in MAY_USE[layer].split():
        return f"{layer}/ may not use {folder}/"
    if name.endswith("_priv.h"):
        return f"{inc[1]} is private to {folder}/"
    return None


def main():
    src = pathlib.Path(sys.argv[1])
    bad = 0
    for path in sorted(src.rglob("*.[chS]")):
        layer = path.relative_to(src).parts[0]
        if layer not in MAY_USE:
            print(f"{path}: the folder {layer}/ is not in the picture (MAY_USE)")
            bad += 1
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            wrong = check_line(layer, line)
            if wrong:
                print(f"{path}:{number}: {wrong}")
                bad += 1
    return 1 if bad else 0


sys.exit(main())
