#!/bin/sh
# Runs all checks of the project, on a fresh Debian or Ubuntu too; needs nothing but sh.
#
#   sh tests/run.sh               all of them
#   sh tests/run.sh -k NAME …     pytest alone, with these arguments
#
# Some need a system made for them and have scripts of their own: tests/fresh.sh, tests/newer.sh,
# tests/real-guest.sh.
# tests/mutants.sh takes hours: it looks whether a test dies with each rule.
# Formatting, rules, types, layers, scripts and most tests run as an ordinary user; tests/system, which
# makes libvirt hosts in namespaces of its own, as root. A step that fails stops no later one.
set -eu
# shellcheck source=examples/install.sh
. "$(dirname -- "$0")/../examples/install.sh"
gitvirt_group=development
gitvirt_setup "$0" "$@"

summary=
failed=0
step() {  # NAME COMMAND…
    name=$1
    shift
    echo "== $name"
    if "$@"; then
        summary="$summary
ok      $name"
    else
        summary="$summary
FAILED  $name (exit code $?)"
        failed=1
    fi
}

# pytest's exit code 5: its arguments, if there are any, left no test in this stage.
# shellcheck disable=SC2317
none_asked_for() { [ "$1" -eq 5 ] && [ "$arguments" -gt 0 ]; }

# shellcheck disable=SC2317  # called by step
tests_as_user() {
    gitvirt_as_user python -m pytest --basetemp="$GITVIRT_RUN/tmp/t" --ignore=tests/system \
        --ignore=tests/e2e/test_real_guest.py "$@" \
        || none_asked_for $?
}

# shellcheck disable=SC2317
tests_as_root() {
    gitvirt_as_root TMPDIR="$GITVIRT_RUN" HYPOTHESIS_STORAGE_DIRECTORY="$GITVIRT_RUN/hypothesis" \
        python -m pytest -p no:cacheprovider --basetemp="$GITVIRT_RUN/t" "$@" || none_asked_for $?
}

# An argument that is a path says which of the two pytest stages is meant.
arguments=$#
as_user=yes
as_root=
[ ! -d tests/system ] || as_root=tests/system
for argument; do
    case $argument in
        tests/system*) as_user='' as_root=. ;;
        *) [ ! -e "${argument%%::*}" ] || as_root='' ;;
    esac
done

export GITVIRT_GUEST_IMAGE="$GITVIRT_RUN/guest.qcow2"
step "guest image" gitvirt_as_user sh examples/guest/build.sh "$GITVIRT_GUEST_IMAGE"
if [ "$arguments" -eq 0 ]; then
    step "format" gitvirt_as_user ruff format --check
    step "rules" gitvirt_as_user ruff check
    step "types" gitvirt_as_user mypy
    step "layers" gitvirt_as_user lint-imports
    step "scripts" gitvirt_as_user shellcheck -S warning -x -P SCRIPTDIR \
        .ci/run examples/*.sh examples/guest/build.sh tests/*.sh
fi
if [ "$arguments" -eq 0 ]; then
    # Guests that boot want the whole machine, and all other tests share it.
    step "tests" tests_as_user -m "not host" -n auto --dist worksteal
    step "tests on hosts" tests_as_user -m host
elif [ -n "$as_user" ]; then
    step "tests" tests_as_user "$@"
fi
case $as_root in
    '') ;;
    .) step "system tests" tests_as_root "$@" ;;
    *) step "system tests" tests_as_root "$as_root" "$@" ;;
esac

echo "== summary$summary"
exit "$failed"
