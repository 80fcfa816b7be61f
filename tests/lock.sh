#!/bin/sh
# Makes requirements.lock anew after a change in pyproject.toml. Needs uv. What is pinned already
# stays as it is, unless uv is told otherwise:
#
#   sh tests/lock.sh [--upgrade | --upgrade-package NAME]
set -eu
cd "$(dirname -- "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compile() {  # OUTPUT ARGUMENTS…: one entry a package, with the hashes of all its files
    output=$1
    shift
    cp requirements.lock "$output"  # uv prefers the versions that it finds there
    uv -q pip compile --universal --python-version 3.11 --generate-hashes --no-header \
        --no-annotate --no-emit-index-url --no-emit-find-links -o "$output" "$@"
}

names() { sed -n 's/^\([a-z0-9.-]*\)==.*/\1/p' "$1"; }

# The entries of a file's packages that are, or are not, named in another file.
entries() {  # yes|no NAMES FILE
    awk -v wanted="$1" 'NR == FNR { known[$1] = 1; next }
        /^[a-z0-9]/ { split($1, name, "=="); show = (name[1] in known) == (wanted == "yes") }
        show' "$2" "$3"
}

printf 'hatchling\neditables\nsetuptools\n' \
    | compile "$work/all" "$@" --extra dev pyproject.toml -
compile "$work/run" --constraint "$work/all" pyproject.toml
names "$work/run" >"$work/names"
{
    sed '/^# == /,$d' requirements.lock
    echo '# == what gitvirt needs'
    entries yes "$work/names" "$work/all"
    echo '# == what its build and its tests need beside that'
    entries no "$work/names" "$work/all"
} >"$work/lock"
cp "$work/lock" requirements.lock
