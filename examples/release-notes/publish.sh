#!/bin/sh
# Appends the approved notes, with the commits, to the file that people read.
set -eu
{
    cat .release/notes.md
    sed 's/^/- /' .release/commits.txt
    echo
} >>RELEASES.md
printf '{"published": "RELEASES.md", "lines": %d}\n' "$(wc -l <RELEASES.md)"
