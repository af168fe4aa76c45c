#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only
#
# 'swsgx vm' from outside: what it refuses, what it prints, and what it says where there is no KVM.
#   usage: test_vm.sh SWSGX

swsgx=$1
nr=0
failed=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

check() { # STATUS TEXT NAME: the last command's status, and a text in what it said
	nr=$((nr + 1))
	if [ "$status" = "$1" ] && { [ -z "$2" ] || grep -Eq -- "$2" "$tmp/out"; }; then
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

skip() { # NAME WHY
	nr=$((nr + 1))
	echo "ok $nr - $1 # SKIP $2"
}

run "$swsgx" vm --help
check 0 "--guests N" "--help"
run "$swsgx" vm --nonsense
check 2 "swsgx vm --help" "a bad option"
run "$swsgx" vm --guests many
check 2 "'many' for --guests" "no number"
run "$swsgx" vm --guests 0
check 2 "'0' for --guests" "no guests"
run "$swsgx" vm --epc 5000
check 2 "'5000' for --epc" "an EPC that is no pages"
run "$swsgx" vm --vepc 256K --vcpus 8
check 2 "256K for each processor" "too little for eight processors"
run "$swsgx" vm --policy nonsense
check 2 "no policy 'nonsense'" "a policy that isn't there"
run "$swsgx" vm --nonsense
check 2 "bad option '--nonsense'" "a bad option"
run "$swsgx" vm more
check 2 "takes no 'more'" "an argument"
run "$swsgx" vm --kernel /dev/null
if [ "$status" = 1 ] && grep -Eq "KVM|/dev/kvm|userfaultfd" "$tmp/out"; then
	check 1 "hint:" "this machine lacks something, and it says what to do"
	skip "guests" "$(head -n 1 "$tmp/out")"
	echo "1..$nr"
	exit "$((failed > 0))"
fi
check 1 "cannot (read|load) the guest" "a kernel that is none"
run "$swsgx" vm --kernel "$swsgx"
check 1 "cannot load the guest" "nor is a program one"

run "$swsgx" vm --guests 2 --epc 512K --vepc 512K --rounds 2
check 0 "^2 .* the same$" "two guests, each with as much EPC as there is"
check 0 "given back" "every page comes back"
check 0 "^host .* 0 wrong$" "the host's enclave was used meanwhile"
run "$swsgx" vm --guests 1 --vcpus 2 --vepc 1M --rounds 1 --own-paging 40 --interrupts 3000 --say
check 0 "^1 .* the same$" "two processors, the guest's own paging, interrupts"
check 0 "^report [0-9a-f]{864}$" "--say"
check 0 "evictions [1-9]" "and it did its own paging"

run "$swsgx" vm --guests 2 --epc 512K --vepc 512K --guest-min 256K
check 2 "cannot promise 256K" "more promised than there is"
run "$swsgx" vm --guest-min 512K --guest-max 256K
check 2 "more than --guest-max" "a promise above the limit"
run "$swsgx" vm --guests 2 --epc 1M --vepc 1M --rounds 1 --guest-max 256K --json
check 0 '"ok":true' "--json"
check 0 '"name":"2"' "with a row for each guest"
# 256K are 64 pages.
if grep -Eq '"peak_pages":(6[5-9]|[7-9][0-9]|[0-9]{3,})' "$tmp/out"; then status=1; else status=0; fi
check 0 '"peak_pages":[1-9]' "no guest had more than --guest-max"

# Interrupted in the middle, or killed: it ends at once, and leaves nothing.  Other tests that run meanwhile have files there
# too; theirs go, and what is left stays.
files() {
	find /dev/shm /tmp -maxdepth 1 -name '*swsgx*' ! -name 'swsgx-client-*' 2>/dev/null | sort
}
check_left() { # NAME
	files | comm -13 "$tmp/before" - >"$tmp/new"
	for second in $(seq 60); do
		files | comm -12 "$tmp/new" - >"$tmp/out"
		[ -s "$tmp/out" ] || break
		sleep 1
	done
	status=0
	[ -s "$tmp/out" ] && status=$second
	check 0 "" "$1"
}
files >"$tmp/before"
run timeout -s INT -k 10 2 "$swsgx" vm --guests 3 --epc 1M --vepc 8M
check 124 "^guest" "^C in the middle"
check_left "leaves nothing"
run timeout -s KILL 3 "$swsgx" vm --guests 3 --epc 1M --vepc 8M
check 137 "^guest" "killed in the middle"
check_left "leaves nothing either"

# A machine without: /dev/kvm is something else in a mount namespace of our own.
if unshare -m true 2>/dev/null; then
	run unshare -m sh -c "mount --bind /dev/null /dev/kvm && exec '$swsgx' vm"
	check 1 "KVM" "without KVM it says so"
	check 1 "hint:" "and what to do"
	run unshare -m sh -c "mount --bind /dev/null /dev/kvm && '$swsgx' doctor"
	check "$status" "missing +kvm" "and so does swsgx doctor"
else
	skip "without KVM" "unshare -m is refused"
fi
echo "1..$nr"
exit "$((failed > 0))"
