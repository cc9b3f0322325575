//! Processes of runs that are there while no server looks after them.
//!
//! Every process of a run carries `BUGLE_RUN=<run>/<epoch>` in its environment. Those with a living keeper are in order:
//! the next start takes them over. The others were orphaned by a killed keeper; the next start ends them. Nothing is
//! ended here.

use std::collections::BTreeSet;
use std::path::Path;

use super::Finding;

const MARK: &[u8] = b"BUGLE_RUN=";

pub(super) fn look(data_dir: &Path, is_tended: bool) -> Finding {
    const CHECK: &str = "leftovers";
    let runs = data_dir.join("runs");
    let (mut kept, mut orphaned) = (0, 0);
    for mark in marks(Path::new("/proc")) {
        let folder = runs.join(&mark);
        if !folder.is_dir() {
            // Of another data folder.
            continue;
        }
        match keeper::probe(&folder) {
            Ok(probe) if probe.holder_pid.is_some() => kept += 1,
            Ok(_) | Err(_) => orphaned += 1,
        }
    }
    match (kept, orphaned, is_tended) {
        (_, 0, true) => Finding::ok(CHECK, format!("{kept} runs under way, all with their keeper")),
        (0, 0, false) => Finding::ok(CHECK, "no processes of earlier runs"),
        (kept, 0, false) => {
            Finding::ok(CHECK, format!("{kept} runs go on without a server; `bugle up` takes them over"))
        }
        (_, orphaned, _) => Finding::warn(
            CHECK,
            "leftovers.orphaned",
            format!("{orphaned} runs have processes but no keeper any more"),
            if is_tended {
                "wait a moment; the server ends them"
            } else {
                "start the server, which ends them: bugle up"
            },
        ),
    }
}

/// The marks of all processes that can be looked at, each once.
fn marks(proc: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = entries.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
    pids.filter_map(|entry| mark(&std::fs::read(entry.path().join("environ")).ok()?)).collect()
}

fn mark(environment: &[u8]) -> Option<String> {
    let value = environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(MARK))?;
    let text = std::str::from_utf8(value).ok()?;
    let (run, epoch) = text.split_once('/')?;
    // Part of a path: nothing but the names that we give.
    let is_ours =
        domain::ids::looks_like_id(run) && !epoch.is_empty() && epoch.bytes().all(|b| b.is_ascii_digit());
    is_ours.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_marks_become_paths() {
        let run = "0192f7a0-0000-4000-8000-00000000000a";
        let with = |value: &str| mark(format!("PATH=/bin\0BUGLE_RUN={value}\0X=1\0").as_bytes());
        assert_eq!(with(&format!("{run}/3")), Some(format!("{run}/3")));
        for value in ["", run, "../../etc/1", &format!("{run}/.."), &format!("{run}/")] {
            assert_eq!(with(value), None, "{value}");
        }
        assert_eq!(mark(b"PATH=/bin\0"), None);
    }

    #[test]
    fn a_folder_without_runs_has_no_leftovers() {
        let folder = tempfile::tempdir().unwrap();
        let finding = look(folder.path(), false);
        assert_eq!((finding.code, finding.message.as_str()), ("ok", "no processes of earlier runs"));
    }
}
