//! What is run on a host: small scripts for `/bin/sh`, which name folders and never a value that is secret.
//!
//! Below the configured folder all that is ours lies in `.bugle`: `runs/<run>` for what starts and stops a run, and
//! `work/<scope>` for the files it works on. Nothing else of the user's is ever removed or changed.

use super::line::quoted;

/// The folders of a lease on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    /// Ours, below the configured one.
    pub(super) base: String,
    /// What starts and stops the run.
    pub(super) control: String,
    /// What it works on.
    pub(super) work: String,
    /// There as long as what was done there has not come back.
    pub(super) open: String,
    /// Names the run whose folder it is.
    pub(super) owner: String,
    pub(super) run: String,
}

impl Places {
    pub(super) fn of(root: &str, run: &str, scope: &str) -> Places {
        let base = format!("{}/.bugle", root.trim_end_matches('/'));
        Places {
            control: format!("{base}/runs/{run}"),
            work: format!("{base}/work/{scope}"),
            open: format!("{base}/work/{scope}.open"),
            owner: format!("{base}/work/{scope}.owner"),
            run: run.to_owned(),
            base,
        }
    }

    fn heads(&self) -> String {
        format!(
            "base={}; control={}; work={}; open={}; owner={}; run={}; umask 077\n",
            quoted(&self.base),
            quoted(&self.control),
            quoted(&self.work),
            quoted(&self.open),
            quoted(&self.owner),
            quoted(&self.run),
        )
    }

    /// Makes the folders and the stopping script; says which programs there are.
    pub(super) fn prepare(&self) -> String {
        let stop = self.stop_script();
        format!(
            "{}set -e\nmkdir -p \"$control\" \"$base/work\"\n\
             [ -e \"$base/.gitignore\" ] || printf '*\\n' > \"$base/.gitignore\"\n\
             printf '%s' {} > \"$control/stop.sh\"\n\
             for program in git tar curl wget setsid; do\n\
               if command -v \"$program\" >/dev/null 2>&1; then echo \"has $program\"; fi\ndone\n",
            self.heads(),
            quoted(&stop),
        )
    }

    /// Asks an address whether the API answers there; says so where nothing on the host can ask.
    pub(super) fn ask_api(url: &str) -> String {
        let url = quoted(&format!("{url}/api/health"));
        format!(
            "if command -v curl >/dev/null 2>&1; then curl -fsS -m 8 -o /dev/null {url}\n\
             elif command -v wget >/dev/null 2>&1; then wget -q -T 8 -t 1 -O /dev/null {url}\n\
             else echo unknown; fi\n"
        )
    }

    /// Makes an empty folder to work in. What an earlier run left there and did not come back is put aside.
    pub(super) fn empty_work(&self) -> String {
        format!(
            "{}set -e\nif [ -e \"$open\" ]; then\n\
               mkdir -p \"$base/kept\"\n\
               kept=\"$base/kept/$(cat \"$open\").$(date +%s)\"\n\
               [ ! -e \"$work\" ] || mv \"$work\" \"$kept\"\n\
               rm -f \"$open\"\n\
             fi\nrm -rf \"$work\"\nprintf '%s' \"$run\" > \"$owner\"\nmkdir -p \"$work\"\n",
            self.heads(),
        )
    }

    /// Takes in files as tar, into the empty folder.
    pub(super) fn take_files(&self) -> String {
        format!("{}exec tar -C \"$work\" -xf -\n", self.heads())
    }

    /// Gives the files as tar.
    pub(super) fn give_files(&self) -> String {
        format!("{}exec tar -C \"$work\" -cf - .\n", self.heads())
    }

    /// Takes in a file of the control folder.
    pub(super) fn take(&self, name: &str) -> String {
        format!("{}cat > \"$control\"/{}\n", self.heads(), quoted(name))
    }

    /// Gives a file of the control folder.
    pub(super) fn give(&self, name: &str) -> String {
        format!("{}exec cat \"$control\"/{}\n", self.heads(), quoted(name))
    }

    /// Makes a repository of a bundle: at this commit, with these changes that are not committed.
    pub(super) fn unpack_repository(&self, branch: Option<&str>, head: &str, state: &str) -> String {
        let onto = match branch {
            Some(branch) => format!("-B {}", quoted(branch)),
            None => "--detach".to_owned(),
        };
        format!(
            "{}set -e\numask 022\ncd \"$work\"\nexport GIT_TERMINAL_PROMPT=0\n\
             git -c init.defaultBranch=main init -q .\n\
             git fetch -q \"$control/to.bundle\" '+refs/bugle/*:refs/bugle/*'\n\
             git checkout -q {onto} {head}\ngit read-tree -u --reset {state}\ngit reset -q {head}\n\
             rm -f \"$control/to.bundle\"\n",
            self.heads(),
        )
    }

    /// Commits what is in the folder beside its branches, and bundles it; says what it found.
    pub(super) fn pack_repository(&self, sent_head: &str) -> String {
        format!(
            "{}set -e\ncd \"$work\"\n\
             GIT_INDEX_FILE=\"$control/index\"; export GIT_INDEX_FILE\n\
             GIT_AUTHOR_NAME=Bugle GIT_AUTHOR_EMAIL=bugle@localhost GIT_COMMITTER_NAME=Bugle GIT_COMMITTER_EMAIL=bugle@localhost\n\
             export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL\n\
             rm -f \"$GIT_INDEX_FILE\"; cp .git/index \"$GIT_INDEX_FILE\" 2>/dev/null || true\n\
             git add -A\ntree=$(git write-tree)\nhead=$(git rev-parse HEAD)\n\
             back=$(git commit-tree \"$tree\" -p \"$head\" -m \"What run $run left\")\n\
             git update-ref refs/bugle/back \"$back\"\n\
             rm -f \"$GIT_INDEX_FILE\"; unset GIT_INDEX_FILE\n\
             git bundle create -q \"$control/back.bundle\" refs/bugle/back --not {sent_head}\n\
             echo \"head $head\"; echo \"back $back\"\n\
             echo \"branch $(git symbolic-ref -q --short HEAD || true)\"\n",
            self.heads(),
        )
    }

    /// Ends whatever of the run is left, within so many seconds; fails when something stays.
    pub(super) fn stop(&self, grace: u64) -> String {
        format!(
            "{}[ ! -e \"$control/stop.sh\" ] || exec /bin/sh \"$control/stop.sh\" {grace}\n",
            self.heads()
        )
    }

    /// The work has come back: nothing of it need stay.
    pub(super) fn close(&self) -> String {
        format!("{}rm -rf \"$work\" \"$open\"\n", self.heads())
    }

    /// Removes what was made for the run; says where work lies that did not come back.
    pub(super) fn clean(&self) -> String {
        format!(
            "{}if [ -e \"$control/stop.sh\" ]; then /bin/sh \"$control/stop.sh\" 0 || exit 1; fi\n\
             rm -rf \"$control\"\n\
             if [ -e \"$open\" ] && [ \"$(cat \"$open\")\" = \"$run\" ]; then\n\
               mkdir -p \"$base/kept\"; mv \"$work\" \"$base/kept/$run\" && rm -f \"$open\" && echo \"kept $base/kept/$run\"\n\
             elif [ ! -e \"$open\" ] && [ \"$(cat \"$owner\" 2>/dev/null)\" = \"$run\" ]; then rm -rf \"$work\" \"$owner\"; fi\n",
            self.heads(),
        )
    }

    /// Runs what [`Places::launch_script`] said.
    pub(super) fn launch(&self) -> String {
        format!("{}exec /bin/sh \"$control/launch.sh\"\n", self.heads())
    }

    /// Starts the program with its environment in a session of its own, waits for it, and leaves nothing of it. When
    /// nobody listens any more on the other end of the line, it is ended. The script removes itself before it begins:
    /// it holds the environment.
    pub(super) fn launch_script(&self, argv: &[String], env: &[(String, String)], grace: u64) -> String {
        let mut exports = String::new();
        for (name, value) in env {
            exports.push_str(&format!("{name}={}; export {name}\n", quoted(value)));
        }
        let command: Vec<String> = argv.iter().map(|word| quoted(word)).collect();
        let command = command.join(" ");
        format!(
            r#"{heads}rm -f "$control/launch.sh"
umask 022
exec 3<&0 </dev/null
cd "$work" || exit 126
printf '%s' "$run" > "$open"
if [ -e "$control/stdin" ]; then exec 4<"$control/stdin"; rm -f "$control/stdin"; else exec 4</dev/null; fi
(
exec 3<&-
found=$("${{SHELL:-/bin/sh}}" -lc 'printf "\nBUGLE_PATH=%s\n" "$PATH"' 2>/dev/null </dev/null | sed -n 's/^BUGLE_PATH=//p' | tail -n 1)
[ -z "$found" ] || PATH=$found
export PATH
{exports}BUGLE_RUN="$run/remote"; export BUGLE_RUN
if command -v setsid >/dev/null 2>&1; then exec setsid {command} <&4 4<&-; else exec {command} <&4 4<&-; fi
) 4<&4 &
child=$!
exec 4<&-
echo "$child" > "$control/pid"
(
cat <&3
[ -e "$control/done" ] || /bin/sh "$control/stop.sh" {grace}
) >/dev/null 2>&1 &
watch=$!
exec 3<&-
wait "$child" 2>/dev/null; code=$?
: > "$control/done"
/bin/sh "$control/stop.sh" 0
kill "$watch" 2>/dev/null
exit "$code"
"#,
            heads = self.heads(),
        )
    }

    /// Ends the processes of the run: asks them, waits, kills them. They are known by the mark in their environment;
    /// where that cannot be read, by the group of the first one.
    fn stop_script(&self) -> String {
        format!(
            r#"{heads}grace=${{1:-0}}
pid=$(cat "$control/pid" 2>/dev/null)
marked() {{ grep -ls "BUGLE_RUN=$run/remote" /proc/[0-9]*/environ 2>/dev/null | sed 's,^/proc/\([0-9]*\)/.*,\1,'; }}
if [ -r /proc/self/environ ]; then
  alive() {{ [ -n "$(marked)" ]; }}
  tell() {{
    for one in $(marked); do
      if [ "$one" = "$pid" ]; then kill -s "$1" -- "-$one" 2>/dev/null; fi
      kill -s "$1" "$one" 2>/dev/null
    done
  }}
else
  alive() {{ [ -n "$pid" ] && [ ! -e "$control/done" ] && kill -0 "$pid" 2>/dev/null; }}
  tell() {{ kill -s "$1" -- "-$pid" 2>/dev/null || kill -s "$1" "$pid" 2>/dev/null; }}
fi
pause() {{ sleep 0.1 2>/dev/null || sleep 1; }}
alive || exit 0
end=$(($(date +%s) + grace))
if [ "$grace" -gt 0 ]; then
  tell TERM
  while alive && [ "$(date +%s)" -lt "$end" ]; do pause; done
fi
end=$(($(date +%s) + 20))
while alive; do
  tell KILL
  [ "$(date +%s)" -lt "$end" ] || {{ echo "processes of the run cannot be ended: $(marked | tr '\n' ' ')" >&2; exit 1; }}
  pause
done
exit 0
"#,
            heads = self.heads(),
        )
    }
}
