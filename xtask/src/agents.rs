//! The agent programs that people use, driven by a real server: the tests of `crates/app/tests/agents`.
//!
//! The programs are pinned by the lock files below that folder. They are installed once into a folder of their own, which
//! is named for the lock files and appears whole or not at all; when it is there, nothing is downloaded. Scripts of
//! packages are not run, and an installation that is not what its lock file says is thrown away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::step;

/// Where the lock files are, from the root.
const PROGRAMS: &str = "crates/app/tests/agents/programs";
/// Where installed programs are kept; else below the user's cache.
const CACHE: &str = "BUGLE_AGENT_CACHE";
/// What the tests read: the folders with the installed programs, joined as in `PATH`.
const FOUND: &str = "BUGLE_AGENT_PROGRAMS";

/// Runs the tests after the programs are there. The first word may be `install` (and no more than that) or `soak` (the
/// programs that take long as well); what follows chooses tests by name.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<bool> {
    let (soak, only_install, filters) = match words {
        ["install"] => (false, true, &words[1..]),
        ["soak", filters @ ..] => (true, false, filters),
        filters => (false, false, filters),
    };
    let cache = cache()?;
    let locked = root.join(PROGRAMS);
    let mut folders = vec![installed(&locked, &cache)?];
    if soak {
        folders.push(installed(&locked.join("soak"), &cache)?);
    }
    if only_install {
        return Ok(true);
    }
    let found = std::env::join_paths(&folders).context("the cache's name holds a colon")?;
    let found = found.to_str().context("the cache's name is not UTF-8")?;
    // Of the whole workspace, as the other tests: for one package alone every crate would be built once more.
    let mut args = vec!["test", "--workspace", "--test", "agents", "--"];
    args.extend(filters);
    // Each program takes a processor for itself while it starts: more at once only wait for each other.
    args.extend(["--nocapture", "--test-threads=2"]);
    step::cargo(root, "agents", &args, &[(FOUND, found)])
}

fn cache() -> Result<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = named(CACHE) {
        return std::path::absolute(&folder).with_context(|| format!("cannot use {}", folder.display()));
    }
    let cache = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")));
    Ok(cache.with_context(|| format!("there is no HOME: name a folder in {CACHE}"))?.join("bugle"))
}

/// The folder with what a lock file names; installed first if it is not there.
fn installed(locked: &Path, cache: &Path) -> Result<PathBuf> {
    let mut inputs = Vec::new();
    for name in ["package.json", "package-lock.json"] {
        let path = locked.join(name);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        inputs.push((name, text));
    }
    let folder = cache.join(folder_name(inputs.iter().map(|(_, text)| &text[..])));
    if folder.is_dir() {
        println!("-- agent programs: in {}", folder.display());
        return Ok(folder);
    }
    println!("\n== agent programs: npm install into {}", folder.display());
    fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
    remove_leftovers(cache)?;
    let partial = cache.join(format!("{PARTIAL}{}", std::process::id()));
    fs::create_dir(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
    let outcome = install(&partial, &inputs).and_then(|()| put_in_place(&partial, &folder));
    if outcome.is_err() {
        // The error says more than a second one about the folder would.
        let _ = fs::remove_dir_all(&partial);
    }
    outcome.map(|()| folder)
}

fn install(folder: &Path, inputs: &[(&str, Vec<u8>)]) -> Result<()> {
    for (name, text) in inputs {
        fs::write(folder.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    let mut npm = Command::new("npm");
    // Not `npm ci`: that refuses a lock file that leaves out what a registry does not have for other systems.
    npm.args(["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    let status = npm.current_dir(folder).status();
    let status = status.context("cannot run npm: it installs the agent programs (package `npm`)")?;
    ensure!(status.success(), "npm install: {status}");
    let read = |name: &str| -> Result<Value> {
        let text = fs::read(folder.join(name)).with_context(|| format!("npm left no {name}"))?;
        serde_json::from_slice(&text).with_context(|| format!("{name} is not JSON"))
    };
    let locked = read("package-lock.json")?;
    let strangers = strangers(&locked, &read("node_modules/.package-lock.json")?);
    if !strangers.is_empty() {
        bail!("npm installed what the lock file does not name: {}", strangers.join(", "));
    }
    Ok(())
}

/// What is installed and not named by the lock file with the same version and the same sum.
fn strangers(locked: &Value, installed: &Value) -> Vec<String> {
    let of = |package: &Value| [package["version"].clone(), package["integrity"].clone()];
    let installed = installed["packages"].as_object().into_iter().flatten();
    installed
        .filter(|(name, package)| of(&locked["packages"][name.as_str()]) != of(package))
        .map(|(name, package)| format!("{name} {}", package["version"].as_str().unwrap_or("?")))
        .collect()
}

fn put_in_place(partial: &Path, folder: &Path) -> Result<()> {
    match fs::rename(partial, folder) {
        // Another one was quicker: the same files, then.
        Err(_) if folder.is_dir() => fs::remove_dir_all(partial).context("cannot remove what is there twice"),
        renamed => renamed.with_context(|| format!("cannot put {} in place", folder.display())),
    }
}

const PARTIAL: &str = ".agents-partial-";

/// What an installation that was killed left behind.
fn remove_leftovers(cache: &Path) -> Result<()> {
    for entry in fs::read_dir(cache).with_context(|| format!("cannot read {}", cache.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PARTIAL).filter(|pid| pid.parse::<u32>().is_ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            fs::remove_dir_all(entry.path()).with_context(|| format!("cannot remove {name}"))?;
        }
    }
    Ok(())
}

/// `agents-` and a hash (FNV-1a, 64 bits) of the texts: any change of them is another folder.
fn folder_name<'a>(texts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for text in texts {
        // The length first, so that nothing can move from one text to the next unseen.
        for byte in (text.len() as u64).to_le_bytes().iter().chain(text) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("agents-{hash:016x}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lock_files() -> Vec<(String, Value)> {
        let locked = crate::tree::root().unwrap().join(PROGRAMS);
        [locked.clone(), locked.join("soak")]
            .iter()
            .flat_map(|folder| ["package.json", "package-lock.json"].map(|name| folder.join(name)))
            .map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap()))
            .map(|(path, text)| (path, serde_json::from_str(&text).unwrap()))
            .collect()
    }

    #[test]
    fn every_change_of_the_lock_files_is_another_folder() {
        let name = |texts: &[&str]| folder_name(texts.iter().map(|text| text.as_bytes()));
        assert_eq!(name(&["a", "b"]), name(&["a", "b"]));
        let others = [name(&["a", "c"]), name(&["ab", ""]), name(&["a"]), name(&["b", "a"])];
        for (at, other) in others.iter().enumerate() {
            assert_ne!(*other, name(&["a", "b"]), "{at}");
        }
        assert_eq!(name(&[]), "agents-cbf29ce484222325");
    }

    #[test]
    fn the_programs_are_pinned_and_no_lock_file_says_where_they_come_from() {
        let files = lock_files();
        assert_eq!(files.len(), 4);
        for (path, file) in files {
            if path.ends_with("package.json") {
                for list in ["dependencies", "optionalDependencies"] {
                    for (name, version) in file[list].as_object().unwrap() {
                        let version = version.as_str().unwrap();
                        let exact = version.rsplit('@').next().unwrap();
                        assert!(exact.starts_with(|c: char| c.is_ascii_digit()), "{path}: {name} {version}");
                    }
                }
                continue;
            }
            let packages = file["packages"].as_object().unwrap();
            assert!(packages.len() > 10, "{path}");
            for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
                assert!(package["integrity"].is_string(), "{path}: {name} can be anything");
                assert_eq!(package.get("resolved"), None, "{path}: {name} names a host");
            }
        }
    }

    #[test]
    fn what_the_lock_file_does_not_name_is_a_stranger() {
        let package = |version: &str, sum: &str| json!({ "version": version, "integrity": sum });
        let locked = json!({ "packages": { "a": package("1.0.0", "x"), "b": package("1.0.0", "y") } });
        let with = |name: &str, package: Value| strangers(&locked, &json!({ "packages": { name: package } }));
        assert_eq!(with("a", package("1.0.0", "x")), Vec::<String>::new());
        assert_eq!(with("a", package("1.0.1", "x")), ["a 1.0.1"]);
        assert_eq!(with("b", package("1.0.0", "x")), ["b 1.0.0"]);
        assert_eq!(with("c", package("1.0.0", "x")), ["c 1.0.0"]);
    }

    #[test]
    fn what_a_dead_installation_left_is_removed_and_a_living_one_is_let_be() {
        let cache = std::env::temp_dir().join(format!("xtask-agents-{}", std::process::id()));
        let own = cache.join(format!("{PARTIAL}{}", std::process::id()));
        // No process has a number beyond the kernel's limit.
        let dead = cache.join(format!("{PARTIAL}4194305"));
        let other = cache.join("agents-0");
        for folder in [&own, &dead, &other] {
            fs::create_dir_all(folder).unwrap();
        }
        remove_leftovers(&cache).unwrap();
        assert_eq!((own.exists(), dead.exists(), other.exists()), (true, false, true));
        put_in_place(&own, &cache.join("agents-1")).unwrap();
        fs::create_dir(&own).unwrap();
        fs::write(other.join("file"), "").unwrap();
        put_in_place(&own, &other).unwrap();
        assert_eq!((own.exists(), other.join("file").exists()), (false, true), "the first one stays");
        fs::remove_dir_all(&cache).unwrap();
    }
}
