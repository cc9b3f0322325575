#!/bin/sh
# The editor: a real command. It looks for the longest files, and makes one report of what the others found.
set -eu

bugle() { "$BUGLE" "$@"; }
export GIT_AUTHOR_NAME=editor GIT_AUTHOR_EMAIL=editor@bugle.invalid
export GIT_COMMITTER_NAME=editor GIT_COMMITTER_EMAIL=editor@bugle.invalid

issue=$BUGLE_TASK_ID
# It answers `BAC-2  in_progress  Count the lines of each crate`.
taken=$(bugle issue checkout "$issue")
title=${taken#*  in_progress  }

case $title in
'Find the longest files')
    git merge --quiet --no-edit scribe
    file=survey/LONGEST.md
    git ls-files -z -- '*.rs' | xargs -0 wc -l | grep -v ' total$' | sort -rn | sed -n '1,10s/^ */    /p' >"$file"
    ;;
'Write the report')
    # The surveyor's branch has what this issue waited for; without it there is nothing to report.
    git merge --quiet --no-edit surveyor
    file=survey/REPORT.md
    {
        printf '# The survey of %s\n' "$(git log -1 --format=%cs)"
        for part in LINES TESTS LONGEST; do
            printf '\n## %s\n\n' "$part"
            cat "survey/$part.md"
        done
    } >"$file"
    ;;
*)
    bugle issue block "$issue" --comment "I find long files and write reports, and do not know how to: $title"
    exit 0
    ;;
esac

bugle issue comment "$issue" "Wrote $(wc -l <"$file" | tr -d ' ') lines; committing $file."
git add "$file"
git commit --quiet --message "$title"
bugle issue done "$issue" --comment "Done in $(git rev-parse --short HEAD)."
