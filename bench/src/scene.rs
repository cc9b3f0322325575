//! A folder for one measurement, and the certainty that nothing of it stays: neither files nor processes.
//!
//! Every process of a run carries the run's mark and every keeper names its run folder, so both are found by the folder,
//! also when the benchmark itself is interrupted.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::machine;

/// All folders in use, for an interruption.
static IN_USE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A folder of its own; dropping it ends every process that belongs to it and removes it.
#[derive(Debug)]
pub(crate) struct Scene {
    folder: PathBuf,
}

impl Scene {
    pub(crate) fn new(above: &Path) -> Result<Scene> {
        let made = tempfile::Builder::new().prefix("bugle-bench-").tempdir_in(above);
        let folder = made.with_context(|| format!("cannot make a folder in {}", above.display()))?.keep();
        in_use().insert(folder.clone());
        Ok(Scene { folder })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        clear(&self.folder);
        in_use().remove(&self.folder);
    }
}

/// Clears everything away when the benchmark is interrupted, and ends it.
pub(crate) fn clear_when_interrupted(runtime: &tokio::runtime::Runtime) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let _entered = runtime.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    runtime.spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        eprintln!("interrupted; removing what was made");
        let folders: Vec<PathBuf> = in_use().iter().cloned().collect();
        for folder in folders {
            clear(&folder);
        }
        std::process::exit(130);
    });
    Ok(())
}

fn in_use() -> std::sync::MutexGuard<'static, BTreeSet<PathBuf>> {
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn clear(folder: &Path) {
    end_all(folder);
    for run in subfolders(&folder.join("runs")) {
        for epoch in subfolders(&run) {
            sweep(&run, &epoch);
        }
    }
    if let Err(error) = fs::remove_dir_all(folder) {
        eprintln!("cannot remove {}: {error}", folder.display());
    }
}

/// Kills servers and keepers of the folder until none is left.
fn end_all(folder: &Path) {
    let until = Instant::now() + Duration::from_secs(10);
    let name = folder.to_string_lossy();
    // Twice nobody: a process that is just being executed has no command line for a moment.
    let mut empty_looks = 0;
    while empty_looks < 2 {
        let own = std::process::id();
        let left: Vec<u32> =
            machine::processes_with(&[&name]).into_iter().filter(|pid| *pid != own).collect();
        empty_looks = if left.is_empty() { empty_looks + 1 } else { 0 };
        if Instant::now() > until {
            eprintln!("processes {left:?} cannot be ended");
            return;
        }
        for pid in left.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)) {
            // It may have ended by itself meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
        keeper::reap_finished();
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ends what the keeper of an epoch left behind when it was killed.
fn sweep(run: &Path, epoch: &Path) {
    let name =
        |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Ok(number) = name(epoch).parse() else { return };
    let over = keeper::probe(epoch).is_ok_and(|probe| probe.exit.is_some());
    if !over && let Err(error) = keeper::sweep_marked(&name(run), number, epoch) {
        eprintln!("cannot end what is left of run {}: {error}", name(run));
    }
}

fn subfolders(of: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(of) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_takes_its_processes_and_files_with_it() {
        let above = tempfile::tempdir().unwrap();
        let scene = Scene::new(above.path()).unwrap();
        let folder = scene.folder().to_owned();
        // Its command line names the folder, as those of servers and keepers do.
        let mut child = std::process::Command::new("tail")
            .arg("-F")
            .arg(scene.file("never-made"))
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        drop(scene);
        // Killed before the scene was gone, so this does not wait; and if it was not, nothing is left behind.
        let ended = child.try_wait().unwrap();
        let _ = child.kill();
        assert!(ended.is_some_and(|status| !status.success()), "it was not ended: {ended:?}");
        assert!(!folder.exists());
    }
}
