#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only
#
# The tool from outside: what it refuses and how it says so, its exit statuses, and what it hands to
# the program.   usage: test_cli.sh SWSGX DYNAMIC_PROGRAM STATIC_PROGRAM

swsgx=$1 dynamic=$2 static=$3
nr=0
failed=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export XDG_DATA_HOME="$tmp/data"

check() { # STATUS TEXT NAME: the last command's status, and a text in what it said
	nr=$((nr + 1))
	if [ "$status" = "$1" ] && { [ -z "$2" ] || grep -Fq -- "$2" "$tmp/out"; }; then
		echo "ok $nr - $3"
	else
		echo "not ok $nr - $3"
		echo "# status $status, wanted $1; wanted text: $2"
		sed 's/^/# /' "$tmp/out"
		failed=$((failed + 1))
	fi
}

run() {
	"$@" >"$tmp/out" 2>&1
	status=$?
}

run "$swsgx"
check 2 "usage: swsgx COMMAND" "no command"
run "$swsgx" --help
check 0 "doctor" "--help lists the commands"
run "$swsgx" --version
check 0 "swsgx 0." "--version"
run "$swsgx" frobnicate
check 2 "there is no command 'frobnicate'" "a command that isn't there"
run "$swsgx" "$dynamic"
check 2 "swsgx run -- $dynamic" "a program instead of a command: how to run it"
for command in run vm doctor; do
	run "$swsgx" help "$command"
	check 0 "usage: swsgx $command" "help $command is $command --help"
	awk 'length > 80' "$tmp/out" >"$tmp/long"
	mv "$tmp/long" "$tmp/out"
	[ ! -s "$tmp/out" ] || status=wide
	check 0 "" "and fits a terminal of 80 columns"
done
run "$swsgx" help frobnicate
check 2 "there is no command 'frobnicate'" "help for a command that isn't there"

run "$swsgx" run --help
check 0 "--backing-max" "run --help lists the options"
run "$swsgx" run
check 2 "no program to run" "no program"
run "$swsgx" run --epc
check 2 "'--epc' needs a value" "a value is missing"
run "$swsgx" run --epc lots "$dynamic"
check 2 "'lots' for --epc is not a size" "a bad size"
run "$swsgx" run --epc 32K "$dynamic"
check 2 "an EPC of 8 pages cannot hold what one instruction needs" "an EPC that is too small"
run "$swsgx" run --nonsense "$dynamic"
check 2 "bad option '--nonsense'" "a bad option"
run "$swsgx" run -xh "$dynamic"
check 2 "bad option '-x'" "a bad letter"
run "$swsgx" run --direct=1 "$dynamic"
check 2 "'--direct' takes no value" "a value too many"
run "$swsgx" run --epc 2T "$dynamic"
check 2 "'2T' for --epc is too large (1T at most)" "an EPC that is too large"
run "$swsgx" run --epc 1T --epc 4K "$dynamic"
check 2 "all --epc together are too large (1T at most)" "sections that are too large together"
run "$swsgx" run --epc 99999999999999999999 "$dynamic"
check 2 "is too large" "a number that is too large"
run "$swsgx" run --stats json "$dynamic"
check 127 "--stats=json, in one word" "a form of statistics in a word of its own"
run "$swsgx" run --stats=xml "$dynamic"
check 2 "'xml' for --stats" "a bad form of statistics"
run "$swsgx" run --backing "$tmp" --backing-max 4K "$dynamic"
check 2 "'4K' for --backing-max has no room for one page" "a store for no page"
run "$swsgx" run --backing-max 1M "$dynamic"
check 2 "--backing-max needs a store" "a limit of nothing"
run "$swsgx" run -- "$tmp/nothing"
check 127 "No such file" "a program that isn't there"
run "$swsgx" run -- no-such-program-anywhere
check 127 "No such file" "nor on PATH"
echo 'exit 0' >"$tmp/plain"
run "$swsgx" run -- "$tmp/plain"
check 126 "Permission denied" "a file that isn't executable"
run "$swsgx" run -- "$tmp"
check 126 "Permission denied" "a folder"
printf '\177ELF\001\001\001' >"$tmp/foreign"
head -c 100 /dev/zero >>"$tmp/foreign"
chmod +x "$tmp/foreign"
run "$swsgx" run -- "$tmp/foreign"
check 2 "not for x86-64" "a 32-bit program"
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	cp "$dynamic" "$tmp/setuid"
	chmod 755 "$tmp"
	chmod 4755 "$tmp/setuid"
	run setpriv --reuid=65534 --regid=65534 --clear-groups "$swsgx" run -- "$tmp/setuid"
	if [ "$status" = 126 ]; then # the build folder may be closed to others
		nr=$((nr + 1))
		echo "ok $nr - a setuid program # SKIP the tool cannot be run as another user here"
	else
		check 2 "is setuid" "a setuid program"
	fi
else
	nr=$((nr + 1))
	echo "ok $nr - a setuid program # SKIP needs root and setpriv"
fi

run "$swsgx" run --platform "$tmp/nowhere/file" -- "$dynamic"
check 1 "cannot use the platform file" "a platform file that cannot be made"
HOME=/proc XDG_DATA_HOME='' run "$swsgx" run -- "$dynamic"
check 1 "--platform FILE" "nor under a home that isn't one"
printf 'no platform' >"$tmp/open"
chmod 644 "$tmp/open"
run "$swsgx" run --platform "$tmp/open" -- "$dynamic"
check 1 "others may use the platform file" "a platform file that others can read"
run "$swsgx" run --platform "$tmp" -- "$dynamic"
check 1 "Is a directory" "a folder is no platform"
head -c 144 /dev/zero >"$tmp/zeros"
chmod 600 "$tmp/zeros"
run "$swsgx" run --platform "$tmp/zeros" -- "$dynamic"
check 1 "is no platform file, or it is damaged" "nor is any file of its size"
run "$swsgx" run --policy nonsense -- "$dynamic"
check 2 "adaptive, upstream" "a policy that isn't there: which there are"
run "$swsgx" run --help
check 0 "adaptive, upstream" "and --help names them"
run "$swsgx" run --backing "$tmp/nowhere/file" -- "$dynamic"
check 1 "No such file or directory" "a backing file in a folder that isn't there"
run "$swsgx" run --backing "$tmp/open" -- "$dynamic"
check 1 "File exists" "a backing file that is there already"
run "$swsgx" run --backing "" -- "$dynamic"
check 2 "empty path" "no path"
run "$swsgx" run --backing "$tmp" --backing-max 0 -- "$dynamic"
check 2 "no bytes" "a backing store of no bytes"

run "$swsgx" doctor --nonsense
check 2 "bad option '--nonsense'" "doctor: a bad option"
run "$swsgx" doctor --help
check 0 "usage: swsgx doctor" "doctor --help"
run "$swsgx" doctor nonsense
check 2 "doctor takes no 'nonsense'" "doctor: a word"

run "$swsgx" vm --guests 17
check 2 "a number from 1 to 16" "vm: how many guests there may be"
run "$swsgx" vm --vcpus 0
check 2 "a number from 1 to 8" "vm: a guest needs a processor"
run "$swsgx" vm --epc 4G
check 2 "from 256K to 1G" "vm: how large an EPC may be"
run "$swsgx" vm --policy nonsense
check 2 "adaptive, upstream" "vm: which policies there are"
run "$swsgx" vm --kernel "$tmp/nowhere"
check 1 "swsgx: " "vm: a kernel that isn't there"
if grep -q heap "$tmp/out"; then
	status=printed
fi
check 1 "" "and no table around that"
run "$swsgx" doctor --json
if python3 -c '
import json, sys
d = json.load(open(sys.argv[1]))
ok = all(c["ok"] for c in d["checks"] if c["need"] == "required")
assert d["ok"] == ok and (int(sys.argv[2]) == 0) == ok and len(d["checks"]) > 10
' "$tmp/out" "$status" 2>"$tmp/why"; then
	json=ok
else
	json="not ok"
	failed=$((failed + 1))
fi
nr=$((nr + 1))
echo "$json $nr - doctor --json is JSON, and agrees with the exit status"
run "$swsgx" doctor
check "$status" "userfaultfd" "doctor prints a table"
doctor=$status

printf '#!/bin/sh\nexec "$@"\n' >"$tmp/script"
chmod +x "$tmp/script"
if [ "$doctor" = 0 ]; then
	run "$swsgx" run -- "$dynamic" 42
	check 42 "" "the exit status is the program's"
	run "$swsgx" run --epc 64K --epc 1M@0 -- env
	check 0 "SWSGX_EPC=65536,1048576@0" "the sections reach the runtime"
	run "$swsgx" run --epc 1M@1023 -- true
	check 0 "no NUMA node 1023" "a node that this machine has not is told"
	run "$swsgx" run --cpu no-sgx2,updatesvn -- env
	check 0 "SWSGX_CPU=no-sgx2,updatesvn" "the processor's features reach the runtime"
	run "$swsgx" run --cpu sgx3 -- env
	check 2 "'sgx3' for --cpu" "an unknown feature"
	run "$swsgx" run --cpuid rewrite -- env
	check 0 "SWSGX_CPUID=rewrite" "how CPUID is shown reaches the runtime"
	run "$swsgx" run --cpuid fault -- env
	check 2 "'fault' for --cpuid" "an unknown way to show CPUID"
	absolute=$(realpath "$swsgx")
	run env -C "$tmp" "$absolute" run --platform here -- env
	check 0 "SWSGX_PLATFORM=$tmp/here" "paths are made absolute"
	run "$swsgx" run -- env
	check 0 "SWSGX_PLATFORM=$tmp/data/swsgx/platform" "the default platform"
	run "$swsgx" run -- "$static" 43
	check 43 "" "a static program runs"
	run "$swsgx" run --direct -- "$dynamic" 44
	check 44 "" "a dynamic one runs with --direct"
	run "$swsgx" run --direct -- "$tmp/script"
	check 2 "is a script" "a script does not"
	LD_PRELOAD=libm.so.6 run "$swsgx" run -- env
	check 0 "libswsgx_runtime.so:libm.so.6" "LD_PRELOAD keeps what it had"
	run "$swsgx" run -- "$tmp/script" "$dynamic" 7
	check 7 "" "a script, and what it executes"
	# A build folder whose path has a blank in it.
	mkdir -p "$tmp/a b/src"
	cp "$swsgx" "$tmp/a b/swsgx"
	ln -s "$(cd "$(dirname "$swsgx")" && pwd)/src/runtime" "$tmp/a b/src/runtime"
	for round in first second; do
		run "$tmp/a b/swsgx" run -- env -i "$tmp/script" "$dynamic" 9
		check 9 "" "a path with a blank, the $round time"
	done
	run "$tmp/a b/swsgx" run -- "$static" 10
	check 10 "" "and a static program"
	run "$tmp/a b/swsgx" run -- env
	check 0 "LD_PRELOAD=/tmp/swsgx-$(id -u)/" "by a link"
	rm -r "$(sed -n 's|^LD_PRELOAD=\(/tmp/.*\)/lib.*|\1|p' "$tmp/out")"
	# shellcheck disable=SC3045 # sh is dash, bash or busybox, and all of them have it
	run sh -c 'ulimit -v 4000000; exec "$@"' sh "$swsgx" run -- "$dynamic"
	check 1 "lacks address-space" "too few addresses"
	# shellcheck disable=SC3045
	run sh -c 'ulimit -f 1000; exec "$@"' sh "$swsgx" run -- "$dynamic"
	check 1 "lacks file-size" "files of a limited size"
else
	nr=$((nr + 1))
	echo "ok $nr - running programs # SKIP this machine lacks something (swsgx doctor)"
fi

echo "1..$nr"
[ "$failed" = 0 ]
