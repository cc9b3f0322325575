//! The line to a host: calling `ssh` with a script, and with bytes both ways.
//!
//! Nothing secret is ever an argument: scripts name files and folders only, values travel through stdin. A key that was
//! given as a text lies in a file of the lease's own folder (0600 in 0700) as long as the lease does.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::config::Config;

/// A host that does not answer is given up after this.
const CONNECT_SECONDS: u32 = 10;
/// As much of what `ssh` complains is told.
const LONGEST_COMPLAINT: usize = 2_000;

/// A way to run scripts on a host.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// `ssh` with everything but extra options, host and command.
    argv: Vec<String>,
    host: String,
    env: Vec<(String, String)>,
}

/// Where the bytes for a script come from.
pub(super) enum Input<'a> {
    Nothing,
    Bytes(&'a [u8]),
    File(&'a Path),
    /// What another program prints; its own end is looked at too.
    From(Command),
}

/// Where what a script prints goes.
pub(super) enum Output<'a> {
    Text,
    File(&'a Path),
    Into(Command),
}

impl Line {
    /// Prepares a line; the folder gets the files that `ssh` needs.
    pub(super) fn open(config: &Config, folder: &Path, host: &adapters::Host) -> io::Result<Line> {
        make_folder(folder)?;
        let mut argv: Vec<String> = vec!["ssh".to_owned(), "-T".to_owned()];
        let mut option = |text: String| argv.extend(["-o".to_owned(), text]);
        for plain in [
            "BatchMode=yes",
            "RequestTTY=no",
            "RemoteCommand=none",
            "ControlMaster=no",
            "ControlPath=none",
            "PermitLocalCommand=no",
            "ForwardAgent=no",
            "ForwardX11=no",
            "LogLevel=ERROR",
            // A line that broke is noticed within a minute.
            "ServerAliveInterval=15",
            "ServerAliveCountMax=4",
            "UpdateHostKeys=no",
        ] {
            option(plain.to_owned());
        }
        option(format!("ConnectTimeout={CONNECT_SECONDS}"));
        option(format!("StrictHostKeyChecking={}", if config.is_strict { "yes" } else { "accept-new" }));
        if let Some(known) = &config.known_hosts {
            let file = folder.join("known_hosts");
            write_private(&file, format!("{}\n", known.trim_end()).as_bytes())?;
            option(format!("UserKnownHostsFile={}", quoted_path(&file)));
            option("GlobalKnownHostsFile=/dev/null".to_owned());
        }
        let key = match (&config.private_key, &config.private_key_path) {
            (Some(key), _) => {
                let file = folder.join("key");
                write_private(&file, format!("{}\n", key.replace('\r', "").trim_end()).as_bytes())?;
                Some(file)
            }
            (None, path) => path.clone(),
        };
        if let Some(key) = key {
            option("IdentitiesOnly=yes".to_owned());
            option(format!("IdentityFile={}", quoted_path(&key)));
        }
        argv.extend(["-p".to_owned(), config.port.to_string()]);
        if let Some(user) = &config.username {
            argv.extend(["-l".to_owned(), user.clone()]);
        }
        let env = host.env.clone().into_iter().collect();
        Ok(Line { argv, host: config.host.clone(), env })
    }

    /// The arguments that run a script on the host, with more options of `ssh`.
    pub(super) fn argv(&self, options: &[String], script: &str) -> Vec<String> {
        let mut argv = self.argv.clone();
        argv.extend(options.iter().cloned());
        argv.extend(["--".to_owned(), self.host.clone(), format!("exec /bin/sh -c {}", quoted(script))]);
        argv
    }

    fn command(&self, options: &[String], script: &str) -> Command {
        let argv = self.argv(options, script);
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).env_clear().envs(self.env.iter().cloned()).kill_on_drop(true);
        command
    }

    /// Runs a script; returns what it printed.
    pub(super) async fn run(&self, script: &str, within: Duration) -> Result<String, String> {
        self.transfer(&[], script, Input::Nothing, Output::Text, within).await
    }

    /// Runs a script between an input and an output; returns what it printed, where it was not sent elsewhere.
    pub(super) async fn transfer(
        &self,
        options: &[String],
        script: &str,
        input: Input<'_>,
        output: Output<'_>,
        within: Duration,
    ) -> Result<String, String> {
        let work = self.talk(options, script, input, output);
        match tokio::time::timeout(within, work).await {
            Ok(done) => done,
            Err(_) => Err(format!("the host did not finish within {} seconds", within.as_secs())),
        }
    }

    async fn talk(
        &self,
        options: &[String],
        script: &str,
        input: Input<'_>,
        output: Output<'_>,
    ) -> Result<String, String> {
        let mut ssh = self.command(options, script);
        ssh.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
        let mut feeder = None;
        let mut taker = None;
        match &input {
            Input::Nothing => {}
            Input::Bytes(_) => {
                ssh.stdin(Stdio::piped());
            }
            Input::File(path) => {
                let file = fs::File::open(path).map_err(told("open what is sent"))?;
                ssh.stdin(file);
            }
            Input::From(_) => {}
        }
        let input = match input {
            Input::From(mut program) => {
                program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
                let mut child = program.spawn().map_err(told("start what is sent"))?;
                let out = child.stdout.take().ok_or("what is sent has no output")?;
                let out: Stdio = out.try_into().map_err(told("connect what is sent"))?;
                ssh.stdin(out);
                feeder = Some(child);
                Input::Nothing
            }
            other => other,
        };
        let is_text = matches!(output, Output::Text);
        match output {
            Output::Text => {}
            Output::File(path) => {
                let file = private_file(path).map_err(told("make the file for what comes back"))?;
                ssh.stdout(file);
            }
            Output::Into(mut program) => {
                program.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
                let mut child = program.spawn().map_err(told("start what takes in"))?;
                let into = child.stdin.take().ok_or("what takes in has no input")?;
                let into: Stdio = into.try_into().map_err(told("connect what takes in"))?;
                ssh.stdout(into);
                taker = Some(child);
            }
        }
        let mut child = ssh.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                "there is no `ssh` on the machine of the server; install an OpenSSH client".to_owned()
            }
            _ => told("start ssh")(error),
        })?;
        drop(ssh);
        let stdin = child.stdin.take();
        let write = async {
            if let (Some(mut stdin), Input::Bytes(bytes)) = (stdin, &input) {
                // A host that went away says so by its end.
                let _ = stdin.write_all(bytes).await;
                let _ = stdin.shutdown().await;
            }
        };
        let (ended, ()) = tokio::join!(child.wait_with_output(), write);
        let ended = ended.map_err(told("wait for ssh"))?;
        for (program, what) in [(feeder, "sending"), (taker, "taking in")] {
            let Some(program) = program else { continue };
            let other = program.wait_with_output().await.map_err(told(what))?;
            if !other.status.success() && ended.status.success() {
                return Err(format!("{what} failed: {}", complaint(&other.stderr)));
            }
        }
        if !ended.status.success() {
            let words = complaint(&ended.stderr);
            return Err(match ended.status.code() {
                Some(255) => format!("cannot reach the host: {words}"),
                Some(code) => format!("the host answered with {code}: {words}"),
                None => format!("ssh was killed: {words}"),
            });
        }
        Ok(if is_text { String::from_utf8_lossy(&ended.stdout).into_owned() } else { String::new() })
    }
}

fn told(what: &'static str) -> impl Fn(io::Error) -> String {
    move |error| format!("cannot {what}: {error}")
}

fn complaint(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LONGEST_COMPLAINT)..]);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { "it said nothing".to_owned() } else { lines.join("; ") }
}

/// A text as one word of a shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A path in an option of `ssh`, which splits at blanks and knows `%`.
fn quoted_path(path: &Path) -> String {
    format!("\"{}\"", path.to_string_lossy().replace('%', "%%"))
}

pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

fn private_file(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Another mode would stay if the file were there already.
    let beside = beside(path);
    let _ = fs::remove_file(&beside);
    private_file(&beside)?.write_all(bytes)?;
    fs::rename(&beside, path)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_one_word_and_keys_are_files_that_nobody_else_reads() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("a b/lease");
        let config = Config::read(&serde_json::json!({
            "host": "box", "username": "ada", "port": 2222, "remoteWorkspacePath": "/srv",
            "privateKey": "-----BEGIN OPENSSH PRIVATE KEY-----\r\nabc\r\n-----END OPENSSH PRIVATE KEY-----",
            "knownHosts": "box ssh-ed25519 AAAA",
        }));
        let line = Line::open(&config.unwrap(), &folder, &adapters::Host::default()).unwrap();
        let argv = line.argv(&["-v".to_owned()], "echo 'x'");
        assert!(!argv.join(" ").contains("BEGIN"), "{argv:?}");
        assert!(argv.contains(&"StrictHostKeyChecking=yes".to_owned()));
        assert_eq!(argv[argv.len() - 4..], ["-v", "--", "box", r"exec /bin/sh -c 'echo '\''x'\'''"]);
        let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("."), mode("key"), mode("known_hosts")), (0o700, 0o600, 0o600));
        let key = fs::read_to_string(folder.join("key")).unwrap();
        assert!(key.ends_with("PRIVATE KEY-----\n") && !key.contains('\r'));
    }
}
