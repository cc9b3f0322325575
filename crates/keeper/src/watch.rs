//! Noticing that something changed in a run folder.
//!
//! One instance serves every run of a server. It only says *look again*: a notice may come
//! twice or for nothing, and when the kernel's queue overflows everybody is told to look. Look
//! once after [`Watch::add`] too, for what happened before.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::error::KeeperError;

/// Calls back for watched folders until it is dropped.
#[derive(Debug)]
pub struct Watch {
    imp: Arc<imp::Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts the thread that calls `on_change` with a folder's token when its log, its exit
    /// record or its start changed, or its keeper died.
    pub fn start(on_change: impl Fn(u64) + Send + 'static) -> Result<Self, KeeperError> {
        let imp = Arc::new(imp::Shared::new().map_err(KeeperError::io("start watching"))?);
        let shared = Arc::clone(&imp);
        let thread = std::thread::Builder::new().name("keeper-watch".to_owned());
        let thread =
            thread.spawn(move || shared.run(&on_change)).map_err(KeeperError::io("start watching"))?;
        Ok(Self { imp, thread: Some(thread) })
    }

    /// Watches a folder. A folder has one token; the last one given counts.
    pub fn add(&self, folder: &Path, token: u64) -> Result<(), KeeperError> {
        self.imp.add(folder, token).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => KeeperError::NotThere,
            _ => KeeperError::io("watch a run folder")(error),
        })
    }

    /// Stops watching. One notice that is already under way may still come.
    pub fn remove(&self, token: u64) {
        self.imp.remove(token);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.imp.stop();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use std::ffi::CStr;
    use std::io;
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;

    use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
    use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch};

    use super::{HashMap, Mutex, Path, PoisonError};
    use crate::folder;

    #[derive(Debug)]
    pub(super) struct Shared {
        inotify: OwnedFd,
        wake: OwnedFd,
        /// Watch descriptor to token.
        tokens: Mutex<HashMap<i32, u64>>,
    }

    impl Shared {
        pub(super) fn new() -> io::Result<Self> {
            let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            Ok(Self { inotify, wake, tokens: Mutex::default() })
        }

        pub(super) fn add(&self, folder: &Path, token: u64) -> io::Result<()> {
            // The folder, not its files: they come and are renamed. Writing to the log is
            // MODIFY; `exit` and a cut log are renamed in; when a keeper dies the kernel closes
            // the lock it held open for writing.
            let flags =
                WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::CREATE;
            let mut tokens = self.tokens();
            let watch = add_watch(&self.inotify, folder, flags | WatchFlags::ONLYDIR)?;
            tokens.insert(watch, token);
            Ok(())
        }

        pub(super) fn remove(&self, token: u64) {
            self.tokens().retain(|&watch, its| {
                if *its == token {
                    let _ = remove_watch(&self.inotify, watch);
                }
                *its != token
            });
        }

        pub(super) fn stop(&self) {
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }

        pub(super) fn run(&self, on_change: &dyn Fn(u64)) {
            loop {
                let mut waited =
                    [PollFd::new(&self.inotify, PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
                match poll(&mut waited, None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(_) => return,
                }
                if !waited[1].revents().is_empty() {
                    return;
                }
                for token in self.collect() {
                    on_change(token);
                }
            }
        }

        /// The tokens of everything the kernel has queued, each once.
        fn collect(&self) -> Vec<u64> {
            let mut buffer = [MaybeUninit::<u8>::uninit(); 16 << 10];
            let mut reader = Reader::new(&self.inotify, &mut buffer);
            let (mut changed, mut overflow) = (Vec::new(), false);
            let mut seen = 0;
            // Bounded, so that a flood from one run cannot keep the others waiting.
            while seen < 1024 {
                let Ok(event) = reader.next() else { break };
                seen += 1;
                if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                    overflow = true;
                } else if event.events().contains(ReadFlags::IGNORED) {
                    self.tokens().remove(&event.wd());
                } else if event.file_name().is_some_and(tells_something)
                    && let Some(&token) = self.tokens().get(&event.wd())
                    && !changed.contains(&token)
                {
                    changed.push(token);
                }
            }
            if overflow { self.tokens().values().copied().collect() } else { changed }
        }

        fn tokens(&self) -> std::sync::MutexGuard<'_, HashMap<i32, u64>> {
            self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    fn tells_something(name: &CStr) -> bool {
        let names = [folder::LOG, folder::EXIT, folder::LOCK, folder::STARTED];
        names.iter().any(|it| it.as_bytes() == name.to_bytes())
    }
}

/// Without inotify the folders are looked at twenty times a second.
#[cfg(not(target_os = "linux"))]
mod imp {
    use std::io;
    use std::path::PathBuf;
    use std::sync::Condvar;
    use std::time::Duration;

    use super::{HashMap, Mutex, Path, PoisonError};
    use crate::{folder, lock};

    type Sight = (u64, bool, bool, bool);

    #[derive(Debug)]
    pub(super) struct Shared {
        watched: Mutex<(bool, HashMap<u64, (PathBuf, Sight)>)>,
        stopped: Condvar,
    }

    impl Shared {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self { watched: Mutex::default(), stopped: Condvar::new() })
        }

        pub(super) fn add(&self, folder: &Path, token: u64) -> io::Result<()> {
            std::fs::metadata(folder)?;
            let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            watched.1.retain(|_, (known, _)| known != folder);
            watched.1.insert(token, (folder.to_owned(), sight(folder)));
            Ok(())
        }

        pub(super) fn remove(&self, token: u64) {
            self.watched.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&token);
        }

        pub(super) fn stop(&self) {
            self.watched.lock().unwrap_or_else(PoisonError::into_inner).0 = true;
            self.stopped.notify_all();
        }

        pub(super) fn run(&self, on_change: &dyn Fn(u64)) {
            loop {
                let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
                let waited = self.stopped.wait_timeout(watched, Duration::from_millis(50));
                let (mut watched, _) = waited.unwrap_or_else(PoisonError::into_inner);
                if watched.0 {
                    return;
                }
                let mut changed = Vec::new();
                for (&token, (folder, last)) in &mut watched.1 {
                    let now = sight(folder);
                    if *last != now {
                        *last = now;
                        changed.push(token);
                    }
                }
                drop(watched);
                changed.into_iter().for_each(on_change);
            }
        }
    }

    fn sight(folder: &Path) -> Sight {
        (
            std::fs::metadata(folder.join(folder::LOG)).map_or(0, |it| it.len()),
            folder.join(folder::EXIT).exists(),
            folder.join(folder::STARTED).exists(),
            lock::holder(folder).is_ok_and(|it| it.is_some()),
        )
    }
}
