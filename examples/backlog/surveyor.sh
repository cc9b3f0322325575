#!/bin/sh
# The surveyor: a real command. One call is one run; what is asked for is the title of the issue that it was woken for.
set -eu

bugle() { "$BUGLE" "$@"; }
export GIT_AUTHOR_NAME=surveyor GIT_AUTHOR_EMAIL=surveyor@bugle.invalid
export GIT_COMMITTER_NAME=surveyor GIT_COMMITTER_EMAIL=surveyor@bugle.invalid

issue=$BUGLE_TASK_ID
# It answers `BAC-2  in_progress  Count the lines of each crate`.
taken=$(bugle issue checkout "$issue")
title=${taken#*  in_progress  }

# What this issue waited for was done by the scribe, on a branch of its own.
git merge --quiet --no-edit scribe

case $title in
'Count the lines of each crate')
    file=survey/LINES.md
    for crate in crates/*/; do
        lines=$(git ls-files -z -- "$crate*.rs" | xargs -0 cat | wc -l)
        printf '    %7d  %s\n' "$lines" "$crate"
    done >"$file"
    ;;
'Count the tests of each crate')
    file=survey/TESTS.md
    for crate in crates/*/; do
        tests=$(git ls-files -z -- "$crate*.rs" | xargs -0 cat | grep -c -E '^ *#\[(tokio::)?test' || true)
        printf '    %7d  %s\n' "$tests" "$crate"
    done >"$file"
    ;;
*)
    bugle issue block "$issue" --comment "I count lines and tests, and do not know how to: $title"
    exit 0
    ;;
esac

bugle issue comment "$issue" "Counted $(wc -l <"$file" | tr -d ' ') crates; committing $file."
git add "$file"
git commit --quiet --message "$title"
bugle issue done "$issue" --comment "Done in $(git rev-parse --short HEAD)."
