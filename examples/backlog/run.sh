#!/bin/sh
# Has three agents work through a backlog of six issues on a clone of the repository that this file lies in.
#
#   run.sh FOLDER      FOLDER is made, and gets the clone with a working tree for each agent
#
# It needs a server (`bugle up`), `bugle` on the PATH, and git. Nothing outside of FOLDER and the server's data is changed.
set -eu

folder=${1:?name a folder that does not exist yet}
here=$(cd "$(dirname "$0")" && pwd)
source=$(git -C "$here" rev-parse --show-toplevel)
bugle=$(command -v bugle)

# The workspace: one clone, and in it a working tree and a branch for each agent, so that none steps on another's files.
mkdir "$folder"
folder=$(cd "$folder" && pwd)
git clone --quiet --local "$source" "$folder/clone"
for agent in scribe surveyor editor; do
    git -C "$folder/clone" worktree add --quiet -b "$agent" "$folder/$agent"
done

# The company. Everything below is about it.
made=$(bugle company create "Backlog" --description "A survey of this repository")
printf '%s\n' "$made"
BUGLE_COMPANY=$(printf '%s\n' "$made" | sed -n 's/.*, id \([0-9a-f-]*\)).*/\1/p')
export BUGLE_COMPANY

# Its agents: a script and two commands. One run at a time each, because each has one working tree.
bugle agent add scribe --max-concurrent 1 --cwd "$folder/scribe" --script "$here/scribe.script"
bugle agent add surveyor --max-concurrent 1 --cwd "$folder/surveyor" --env "BUGLE=$bugle" -- sh "$here/surveyor.sh"
bugle agent add editor --max-concurrent 1 --cwd "$folder/editor" --env "BUGLE=$bugle" -- sh "$here/editor.sh"

# The backlog. Nobody has the first issue yet, so everything waits.
create() {
    line=$(bugle issue create "$@")
    printf '%s\n' "$line" >&2
    printf '%s\n' "${line%% *}"
}
open=$(create "Open the notebook" --priority high)
lines=$(create "Count the lines of each crate" --assignee surveyor --blocked-by "$open")
tests=$(create "Count the tests of each crate" --assignee surveyor --blocked-by "$open")
long=$(create "Find the longest files" --assignee editor --blocked-by "$open")
report=$(create "Write the report" --assignee editor --blocked-by "$lines,$tests,$long")
close=$(create "Close the notebook" --assignee scribe --blocked-by "$report")

# This starts it: every end wakes whoever waited for it.
bugle issue update "$open" --assignee scribe --status todo

is_done() {
    bugle issue show "$1" 2>/dev/null | sed -n 1p | grep -q "^$1  done  "
}
patience=${PATIENCE:-120}
until is_done "$close"; do
    patience=$((patience - 1))
    if [ "$patience" -eq 0 ]; then
        echo "the backlog is not worked through; what needs a person:" >&2
        bugle inbox
        bugle issue list
        bugle run list
        exit 1
    fi
    sleep 1
done

# What came of it: all branches together in the clone.
git -C "$folder/clone" merge --quiet --no-edit editor >/dev/null
git -C "$folder/clone" -c user.name=backlog -c user.email=backlog@bugle.invalid merge --quiet --no-edit scribe >/dev/null
cat "$folder/clone/survey/REPORT.md"
echo "the backlog is worked through: $folder/clone"
echo "look around: bugle issue show $report --company $BUGLE_COMPANY"
