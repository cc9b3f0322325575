//! Publishing the exit record, and staying when it cannot be published.
//!
//! With a full disk the record exists only in the keeper's memory. It then goes on answering,
//! gives the record to whoever asks, and tries again now and then, until it could write it or
//! is told that it is stored elsewhere.

use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::complain;
use super::control::Control;
use super::running::Outcome;
use super::signals::Signals;
use crate::exit::{Draft, Exit};
use crate::folder;
use crate::orders::{Hello, Order, Reply, Request};

/// A disk that was full is looked at again after this long.
const TRY_AGAIN: Duration = Duration::from_secs(5);

pub(super) fn publish(outcome: Outcome, mut draft: Draft, signals: &Signals, mut control: Control) {
    let Outcome { exit, hello, mut holder } = outcome;
    let here = Path::new(".");
    let mut complained = false;
    while let Err(error) = draft.publish(here, &exit) {
        if is_removed(here) {
            // Nobody can find this keeper any more, and there is nowhere left to write to.
            return;
        }
        if !complained {
            complain(&format!("cannot write the exit record, waiting to hand it over: {error}"));
            complained = true;
        }
        let mut released = false;
        wait(signals, &control);
        control.accept();
        control.serve(|request, _| {
            let reply = answer(&request, holder, &exit, &hello);
            if reply != Reply::Refused {
                holder = request.holder;
            }
            released |= reply == Reply::Done && request.order == Order::ReleaseExit;
            reply
        });
        if released || signals.take().terminate {
            break;
        }
    }
    let _ = std::fs::remove_file(folder::SOCKET);
}

/// The folder has no name any more: somebody removed it under a living run.
fn is_removed(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(folder).is_ok_and(|data| data.nlink() == 0)
}

fn answer(request: &Request, holder: i64, exit: &Exit, hello: &Hello) -> Reply {
    if request.holder < holder {
        return Reply::Refused;
    }
    match &request.order {
        Order::Hello => Reply::Hello(hello.clone()),
        Order::TakeExit => Reply::Exit { exit: Some(Box::new(exit.clone())) },
        Order::Feed { .. } => Reply::StdinClosed,
        Order::Stop { .. } | Order::Linger | Order::ReleaseExit => Reply::Done,
    }
}

fn wait(signals: &Signals, control: &Control) {
    let mut fds = vec![PollFd::from_borrowed_fd(signals.fd(), PollFlags::IN)];
    fds.extend(control.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    let _ = poll(&mut fds, Some(&Timespec { tv_sec: TRY_AGAIN.as_secs().cast_signed(), tv_nsec: 0 }));
}
