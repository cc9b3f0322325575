//! The output and input of the scripted agent: straight to and from the descriptors, without a buffer.
//!
//! What was written before a kill is there, and a child that is forked inherits no half-full buffer. What is written is
//! the steps' business.

use std::fs::OpenOptions;
use std::io;
use std::time::Duration;

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::stdio;

use super::script::Form;

/// Output of many bytes is written in pieces of this size.
const PIECE: usize = 1024 * 1024;

/// Numbered lines are gathered up to this size.
const GATHERED: usize = 64 * 1024;

/// Nobody reads the output any more.
#[derive(Debug)]
pub(crate) struct Closed;

pub(crate) fn out(text: &[u8]) -> Result<(), Closed> {
    write_all(stdio::stdout(), text)
}

pub(crate) fn err(text: &[u8]) -> Result<(), Closed> {
    write_all(stdio::stderr(), text)
}

/// Prints `line 1` to `line COUNT`, each followed by a text.
pub(crate) fn numbered(count: u64, text: &str) -> Result<(), Closed> {
    let mut gathered = Vec::with_capacity(GATHERED + text.len() + 32);
    for number in 1..=count {
        gathered.extend_from_slice(b"line ");
        gathered.extend_from_slice(number.to_string().as_bytes());
        if !text.is_empty() {
            gathered.push(b' ');
            gathered.extend_from_slice(text.as_bytes());
        }
        gathered.push(b'\n');
        if gathered.len() >= GATHERED || number == count {
            out(&gathered)?;
            gathered.clear();
        }
    }
    Ok(())
}

/// Writes the same piece again and again: making bytes must never be slower than anybody who takes them.
pub(crate) fn bytes(count: u64, form: Form) -> Result<(), Closed> {
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(stdio::stdout(), PIECE);
    let piece = piece(form);
    let mut left = count;
    while left > 0 {
        let part = left.min(PIECE as u64) as usize;
        out(&piece[..part])?;
        left -= part as u64;
    }
    Ok(())
}

/// Byte by byte: what follows the line stays for whoever shares this stdin.
pub(crate) fn read_line() -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match rustix::io::read(stdio::stdin(), &mut byte) {
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) => line.push(byte[0]),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// Points stdin, stdout and stderr away from whoever listens.
pub(crate) fn silence() -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    stdio::dup2_stdin(&null)?;
    stdio::dup2_stdout(&null)?;
    stdio::dup2_stderr(&null)?;
    Ok(())
}

fn piece(form: Form) -> Vec<u8> {
    match form {
        Form::Text => {
            let mut piece = Vec::with_capacity(PIECE);
            while piece.len() < PIECE {
                let line = format!("{:08} ", piece.len() / 128);
                piece.extend_from_slice(line.as_bytes());
                piece.extend((line.len()..127).map(|at| b'a' + (at % 26) as u8));
                piece.push(b'\n');
            }
            piece
        }
        Form::Line => (0..PIECE).map(|at| b'a' + (at % 26) as u8).collect(),
        Form::Binary => (0..PIECE).map(|at| (at % 256) as u8).collect(),
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Closed> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            // A stdout that was made non-blocking by somebody who shares it.
            Err(Errno::AGAIN) => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => return Err(Closed),
        }
    }
    Ok(())
}
