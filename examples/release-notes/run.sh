#!/bin/sh
# Has an automation draft the release notes of a clone of the repository that this file lies in, up to the question to you.
#
#   run.sh FOLDER      FOLDER is made, and gets the clone
#
# It needs a server (`bugle up`), `bugle` on the PATH, and git. Nothing outside of FOLDER and the server's data is changed.
set -eu

folder=${1:?name a folder that does not exist yet}
here=$(cd "$(dirname "$0")" && pwd)
source=$(git -C "$here" rev-parse --show-toplevel)
mkdir "$folder"
folder=$(cd "$folder" && pwd)
git clone --quiet --local "$source" "$folder/clone"
# Where nothing was released yet, the release before is some commits ago.
if ! git -C "$folder/clone" describe --tags --abbrev=0 >/dev/null 2>&1; then
    before=$(git -C "$folder/clone" rev-list --no-merges --first-parent --max-count=11 HEAD | tail -n 1)
    git -C "$folder/clone" tag v0.0.0 "$before"
fi

made=$(bugle company create "Releases" --description "Release notes of this repository")
printf '%s\n' "$made"
BUGLE_COMPANY=$(printf '%s\n' "$made" | sed -n 's/.*, id \([0-9a-f-]*\)).*/\1/p')
export BUGLE_COMPANY
bugle agent add collector -- sh "$here/collect.sh"
bugle agent add writer --script "$here/writer.script"
bugle agent add publisher -- sh "$here/publish.sh"

sed "s|@WORKSPACE@|$folder/clone|" "$here/release-notes.toml" >"$folder/release-notes.toml"
bugle automation apply "$folder/release-notes.toml"
bugle automation run release-notes --follow
echo "the draft: $folder/clone/.release/notes.md"
echo "decide:    bugle gate show approve --company $BUGLE_COMPANY"
