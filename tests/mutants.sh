#!/bin/sh
# Makes one small change after another to the code that decides, and runs the quick tests of what
# was changed: a change that no test notices shows a rule without a test. Hours for all of it, so
# no part of continuous integration; it runs on a fresh Debian or Ubuntu, as tests/run.sh does.
#
#   sh tests/mutants.sh [PATH…]     files or folders below agent/; all that decides without one
#
# Prints what was not noticed, and fails if there is any. tests/mutants.py says how to give a reason.
set -eu
# shellcheck source=examples/install.sh
. "$(dirname -- "$0")/../examples/install.sh"
gitvirt_group=development
gitvirt_setup "$0" "$@"
gitvirt_as_user mkdir "$GITVIRT_RUN/mutants"
tar --exclude=./.git --exclude=./.venv --exclude=__pycache__ --exclude='.*_cache' -cf - . \
    | gitvirt_as_user tar -C "$GITVIRT_RUN/mutants" -xf - --no-same-owner
GITVIRT_TREE=$GITVIRT_RUN/mutants  # changes are made in a copy
cd "$GITVIRT_TREE"
gitvirt_as_user nice python tests/mutants.py "$@"
