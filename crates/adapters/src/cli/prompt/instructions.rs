//! The instructions file of an agent: its text, with a sentence on where it lies.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::adapter::Setup;
use crate::cli::config::ProgramSettings;

/// How much of the file is given, in bytes. Nobody writes that much by hand, and it fits into every model.
const LONGEST: usize = 256 * 1024;

/// Returns the text of the agent's instructions file, followed by the folder that relative references in it start
/// from; `None` when no file is configured or it is blank. A relative path starts from `cwd`. Of a longer file the
/// first 256 KiB are given, and the text says so. The file is one of this machine, also for a program on another one.
///
/// The error says in words why there is none; it is a note on the run and never a reason to fail it.
pub(crate) fn instructions(
    setup: &Setup<'_>,
    common: &ProgramSettings<'_>,
    cwd: &Path,
) -> Result<Option<String>, String> {
    let Some(configured) = common.instructions else { return Ok(None) };
    let path = cwd.join(configured);
    let bytes = read(&path).map_err(|error| {
        format!(
            "the instructions file `{}` cannot be read, so the agent works without it: {error}",
            path.display()
        )
    })?;
    let is_cut = bytes.len() > LONGEST;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]);
    // A character that the border cuts in two is no fault of the file.
    let text = if is_cut { text.trim_end_matches(char::REPLACEMENT_CHARACTER) } else { &text };
    let text = text.trim_start_matches('\u{FEFF}').trim();
    if text.is_empty() {
        return Ok(None);
    }
    if setup.host.is_elsewhere {
        // Where it lies means nothing there.
        let rest = if is_cut { " Only their beginning is given." } else { "" };
        return Ok(Some(format!(
            "{text}\n\nThe instructions above come from another machine.{rest} A file that they refer to and that does \
             not stand in them is not here.",
        )));
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let rest = if is_cut {
        format!(" Only its first {} KiB are given here; read the rest in the file.", LONGEST / 1024)
    } else {
        String::new()
    };
    Ok(Some(format!(
        "{text}\n\nThe instructions above come from {}.{rest} Relative file references in them start from {}/.",
        path.display(),
        folder.display().to_string().trim_end_matches('/'),
    )))
}

/// At most one byte more than is given. A pipe or a device is refused instead of waited for.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file: File =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
