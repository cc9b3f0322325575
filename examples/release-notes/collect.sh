#!/bin/sh
# Writes the commits since a tag to a file, one a line, and says how many there are.
set -eu
mkdir -p .release
since=${BUGLE_NODE_OBJECTIVE:-}
[ -n "$since" ] || since=$(git describe --tags --abbrev=0)
git log --no-merges --pretty='%h %s' "$since..HEAD" >.release/commits.txt
printf '{"since": "%s", "commits": %d}\n' "$since" "$(wc -l <.release/commits.txt)"
