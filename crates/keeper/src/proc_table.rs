//! Looking at the processes of this machine.
//!
//! Only reading: who is whose child, and what stands in an environment. Elsewhere than on
//! Linux there is nothing to read, and the lists are empty.

/// Direct children of a process, zombies included.
#[cfg(target_os = "linux")]
pub(crate) fn children_of(parent: i32) -> Vec<i32> {
    // One small file where the kernel has it, else everybody is asked for his parent.
    if let Ok(list) = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")) {
        return list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    }
    all().filter(|&pid| parent_of(pid) == Some(parent)).collect()
}

/// Direct children of a process, whichever of its threads made them, zombies included.
#[cfg(target_os = "linux")]
pub(crate) fn children_of_all_threads(parent: i32) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let mut children = Vec::new();
    for thread in threads {
        let Ok(list) = std::fs::read_to_string(thread.path().join("children")) else {
            // The kernel has no such files, or the thread has gone: everybody is asked for his parent.
            return all().filter(|&pid| parent_of(pid) == Some(parent)).collect();
        };
        children.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    children
}

/// Everybody below a process.
#[cfg(target_os = "linux")]
pub(crate) fn descendants_of(ancestor: i32) -> Vec<i32> {
    let parents: Vec<(i32, i32)> = all().filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
    let mut found = vec![ancestor];
    let mut looked_at = 0;
    while let Some(&parent) = found.get(looked_at) {
        looked_at += 1;
        found.extend(parents.iter().filter(|&&(_, its)| its == parent).map(|&(pid, _)| pid));
    }
    found.split_off(1)
}

#[cfg(target_os = "linux")]
pub(crate) fn all() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whether the environment of a process holds exactly this entry. False if it may not be read.
#[cfg(target_os = "linux")]
pub(crate) fn environment_has(pid: i32, entry: &[u8]) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ"));
    environment.is_ok_and(|bytes| bytes.split(|&byte| byte == 0).any(|it| it == entry))
}

#[cfg(target_os = "linux")]
fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, also parentheses; what follows the last one is plain.
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let rest = std::str::from_utf8(&stat[after_name..]).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn children_of(_: i32) -> Vec<i32> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn descendants_of(_: i32) -> Vec<i32> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn all() -> impl Iterator<Item = i32> {
    std::iter::empty()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn environment_has(_: i32, _: &[u8]) -> bool {
    false
}
