//! An ssh server for tests: of an ordinary user, on loopback, with keys of its own, gone when it is dropped.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server. Dropping it stops it and removes its folder.
#[derive(Debug)]
pub struct Sshd {
    pub port: u16,
    pub user: String,
    /// The private key that opens it.
    pub private_key: String,
    /// What is to be known of it.
    pub known_hosts: String,
    folder: tempfile::TempDir,
    server: Child,
}

const START_WITHIN: Duration = Duration::from_secs(20);

impl Sshd {
    /// Starts a server. `None`, after a loud line, where OpenSSH is not installed; with `CI=true` that is a failure.
    pub fn start() -> Option<Sshd> {
        let needed = ["sshd", "ssh", "ssh-keygen"].map(find);
        let [Some(sshd), Some(_), Some(keygen)] = needed else {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "OpenSSH (sshd, ssh, ssh-keygen) is not installed, and CI tests need it"
            );
            eprintln!(
                "SKIPPED: OpenSSH (sshd, ssh, ssh-keygen) is not installed; nothing was tested over ssh"
            );
            return None;
        };
        Some(
            Sshd::start_with(&sshd, &keygen)
                .unwrap_or_else(|error| panic!("an ssh server for the tests: {error}")),
        )
    }

    fn start_with(sshd: &Path, keygen: &Path) -> io::Result<Sshd> {
        let folder = tempfile::Builder::new().prefix("bugle-sshd-").tempdir()?;
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700))?;
        let at = |name: &str| folder.path().join(name);
        for name in ["host_key", "user_key"] {
            let made =
                Command::new(keygen).args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at(name)).output()?;
            if !made.status.success() {
                return Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
            }
        }
        std::fs::copy(at("user_key.pub"), at("authorized_keys"))?;
        // As root it wants a folder that only containers lack.
        let _ = std::fs::create_dir_all("/run/sshd");
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let shown = |path: PathBuf| path.display().to_string();
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             AllowTcpForwarding yes\nX11Forwarding no\nPrintMotd no\nMaxStartups 100\n",
            shown(at("host_key")),
            shown(at("authorized_keys")),
        );
        std::fs::write(at("config"), config)?;
        let log = std::fs::File::create(at("log"))?;
        let server = Command::new(sshd)
            .args(["-D", "-e", "-f"])
            .arg(at("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let host_key = std::fs::read_to_string(at("host_key.pub"))?;
        let host_key: Vec<&str> = host_key.split_whitespace().take(2).collect();
        let started = Sshd {
            port,
            user: user()?,
            private_key: std::fs::read_to_string(at("user_key"))?,
            known_hosts: format!("[127.0.0.1]:{port} {}", host_key.join(" ")),
            folder,
            server,
        };
        let deadline = Instant::now() + START_WITHIN;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err(io::Error::other(started.log()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(started)
    }

    /// What the server said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A folder that is gone with the server.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/usr/local/sbin", "/sbin"]);
    folders.map(|folder| Path::new(folder).join(program)).find(|file| file.is_file())
}

fn user() -> io::Result<String> {
    let said = Command::new("id").arg("-un").output()?;
    Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}
