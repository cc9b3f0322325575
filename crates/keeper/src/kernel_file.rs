//! Small files that the kernel makes up while they are read.
//!
//! They have no size to ask for. The standard library therefore begins with 32 bytes and
//! doubles, and each of these reads may make the whole text anew; here one read takes it all.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// More than nearly all of them have; longer ones take more reads.
const ROOM: usize = 4 << 10;

/// Reads the whole text.
pub(crate) fn text(path: &Path) -> io::Result<String> {
    let mut text = String::with_capacity(ROOM);
    // `take` hides that it is a file, whose size would be asked for in vain.
    File::open(path)?.take(u64::MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_texts_are_read_whole() {
        let short = Path::new("/proc/sys/kernel/random/boot_id");
        assert_eq!(text(short).unwrap(), std::fs::read_to_string(short).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("long");
        std::fs::write(&long, "text ".repeat(ROOM)).unwrap();
        assert_eq!(text(&long).unwrap(), "text ".repeat(ROOM));
    }
}
