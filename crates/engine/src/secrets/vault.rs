//! The key that secrets are sealed with, and the sealing.
//!
//! A value is sealed with ChaCha20-Poly1305 and bound to the company, the secret and the version that it belongs to, so
//! that sealed bytes moved to another row do not open there. The key is a file beside the store and never in it: a copy
//! of the store alone opens nothing. It is made when the first secret is stored, and never again: who has lost it is
//! told so, instead of getting a new one that opens nothing.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::ids::CompanyId;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::digest::hex;

/// The name of the file in the data folder.
pub const KEY_FILE: &str = "secrets.key";

const KEY_BYTES: usize = 32;
const SCHEME: &str = "chacha20-poly1305";
/// Nobody but its owner may change or use the file; a group may read it, because mounted secrets are given to a group.
const FORBIDDEN_BITS: u32 = 0o037;

/// The value of a secret: never shown, wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Zeroizing<String>);

impl SecretValue {
    pub fn new(text: String) -> SecretValue {
        SecretValue(Zeroizing::new(text))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue")
    }
}

/// Why nothing can be sealed or opened. No variant holds anything of a key or a value.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error(
        "the key of the stored secrets is not at {}: put it back there, or name its file with \
         BUGLE_SECRETS_MASTER_KEY_FILE", .0.display()
    )]
    Missing(PathBuf),
    #[error("{} may be used by others (mode {mode:o}): chmod 600 '{}'", .file.display(), .file.display())]
    TooOpen { file: PathBuf, mode: u32 },
    #[error("{} holds no key: it must be 32 bytes, as base64 or as 64 hexadecimal digits", .0.display())]
    NoKey(PathBuf),
    #[error("cannot read or make the key {}: {error}", .file.display())]
    Io { file: PathBuf, error: io::Error },
    #[error(
        "{} is not the key that the secrets of this store are sealed with (it is {have}, they need {want}): \
         give every node the same key file", .file.display()
    )]
    OtherKey { file: PathBuf, have: String, want: String },
    #[error("what is stored does not open with its key: it was changed, or belongs to another secret")]
    Damaged,
}

/// A key.
pub(crate) struct Key {
    id: String,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish()
    }
}

/// What a sealed value is bound to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) company: &'a CompanyId,
    pub(crate) secret: &'a str,
    pub(crate) version: i64,
}

impl Place<'_> {
    fn bytes(&self) -> Vec<u8> {
        // Ids hold no NUL, so that no two places read alike.
        format!("bugle secret\0{}\0{}\0{}", self.company, self.secret, self.version).into_bytes()
    }
}

/// A sealed value as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Material {
    scheme: String,
    nonce: String,
    data: String,
}

impl Key {
    fn new(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Key {
        // Of 256 random bits: what is shown of the hash tells nothing about them.
        let mut digest = Sha256::new();
        digest.update(b"bugle secrets key\0");
        digest.update(&bytes[..]);
        let id = hex(&digest.finalize()[..8]);
        Key { id, bytes }
    }

    /// Names the key without telling anything of it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &self.bytes[..]);
        LessSafeKey::new(key.expect("the key has the length of the cipher's keys"))
    }

    /// Seals a value for its place, as JSON text. No two values may be sealed with one nonce: it is random.
    pub(crate) fn seal(&self, place: Place<'_>, value: &SecretValue, random: [u8; 16]) -> String {
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&random[..NONCE_LEN]);
        let mut data = Vec::with_capacity(value.expose().len() + CHACHA20_POLY1305.tag_len());
        data.extend_from_slice(value.expose().as_bytes());
        let sealed = self.cipher().seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place.bytes()),
            &mut data,
        );
        data.extend_from_slice(sealed.expect("a value is far shorter than the cipher's limit").as_ref());
        let material = Material {
            scheme: SCHEME.to_owned(),
            nonce: STANDARD.encode(nonce),
            data: STANDARD.encode(&data),
        };
        serde_json::to_string(&material).expect("plain fields always serialise")
    }

    /// Opens what was sealed for this place.
    pub(crate) fn open(&self, place: Place<'_>, material: &str) -> Result<SecretValue, VaultError> {
        let damaged = |_| VaultError::Damaged;
        let material: Material = serde_json::from_str(material).map_err(|_| VaultError::Damaged)?;
        if material.scheme != SCHEME {
            return Err(VaultError::Damaged);
        }
        let nonce = STANDARD.decode(&material.nonce).map_err(damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|_| VaultError::Damaged)?;
        let mut data = STANDARD.decode(&material.data).map_err(damaged)?;
        let opened = self.cipher().open_in_place(nonce, Aad::from(place.bytes()), &mut data);
        let text = opened.ok().and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::to_owned);
        data.zeroize();
        text.map(SecretValue::new).ok_or(VaultError::Damaged)
    }
}

/// Where the key is, and the key once it was read.
#[derive(Debug)]
pub(crate) struct Vault {
    file: PathBuf,
    key: Mutex<Option<Arc<Key>>>,
}

impl Vault {
    pub(crate) fn new(file: PathBuf) -> Vault {
        Vault { file, key: Mutex::default() }
    }

    /// The key that the store's secrets need.
    pub(crate) fn key(&self, wanted: &str) -> Result<Arc<Key>, VaultError> {
        let key = match self.read()? {
            Some(key) => key,
            None => return Err(VaultError::Missing(self.file.clone())),
        };
        self.check(key, wanted)
    }

    /// The key to seal with: that of the store, or, where there never was a secret, whatever is here; made if nothing is.
    pub(crate) fn key_to_seal(
        &self,
        wanted: Option<&str>,
        draw: impl FnOnce() -> [u8; KEY_BYTES],
    ) -> Result<Arc<Key>, VaultError> {
        match (wanted, self.read()?) {
            (Some(wanted), Some(key)) => self.check(key, wanted),
            (Some(_), None) => Err(VaultError::Missing(self.file.clone())),
            (None, Some(key)) => Ok(key),
            (None, None) => {
                make(&self.file, Zeroizing::new(draw()))
                    .map_err(|error| VaultError::Io { file: self.file.clone(), error })?;
                self.read()?.ok_or_else(|| VaultError::Missing(self.file.clone()))
            }
        }
    }

    /// Says that this is the key that is needed.
    pub(crate) fn check(&self, key: Arc<Key>, wanted: &str) -> Result<Arc<Key>, VaultError> {
        if key.id() == wanted {
            return Ok(key);
        }
        // Another file may be put in its place while the server runs.
        self.forget();
        let (have, want) = (key.id().to_owned(), wanted.to_owned());
        Err(VaultError::OtherKey { file: self.file.clone(), have, want })
    }

    fn forget(&self) {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn read(&self) -> Result<Option<Arc<Key>>, VaultError> {
        let mut known = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = read_key(&self.file)?.map(Arc::new);
        }
        Ok(known.clone())
    }
}

/// Looks at a key file: its key's id, or nothing when there is no file. Changes nothing.
pub fn look_at_key(file: &Path) -> Result<Option<String>, VaultError> {
    Ok(read_key(file)?.map(|key| key.id))
}

fn read_key(file: &Path) -> Result<Option<Key>, VaultError> {
    let failed = |error| VaultError::Io { file: file.to_owned(), error };
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // Of the file that was opened, whatever its name means by now.
    let mode = opened.metadata().map_err(failed)?.mode() & 0o777;
    if mode & FORBIDDEN_BITS != 0 {
        return Err(VaultError::TooOpen { file: file.to_owned(), mode });
    }
    let mut text = Zeroizing::new(Vec::with_capacity(256));
    opened.take(256).read_to_end(&mut text).map_err(failed)?;
    parse(&text).map(Key::new).map(Some).ok_or_else(|| VaultError::NoKey(file.to_owned()))
}

/// 32 bytes, as base64 or in hexadecimal digits.
fn parse(text: &[u8]) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    if text.len() == 2 * KEY_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        for (at, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        return Some(key);
    }
    let decoded = Zeroizing::new(STANDARD.decode(text).ok()?);
    if decoded.len() != KEY_BYTES {
        return None;
    }
    key.copy_from_slice(&decoded);
    Some(key)
}

/// A private file that appears complete or not at all, and is on the disk when this returns; one that somebody else made
/// meanwhile stays.
fn make(file: &Path, key: Zeroizing<[u8; KEY_BYTES]>) -> io::Result<()> {
    let draft = file.with_extension(format!("draft-{}", std::process::id()));
    let text = Zeroizing::new(STANDARD.encode(&key[..]));
    let mut written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    written.write_all(text.as_bytes())?;
    written.write_all(b"\n")?;
    written.sync_all()?;
    let linked = std::fs::hard_link(&draft, file);
    std::fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        // A key that a crash takes away takes every value with it.
        Ok(()) | Err(_) => match file.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key(byte: u8) -> Key {
        Key::new(Zeroizing::new([byte; KEY_BYTES]))
    }

    const VALUE: &str = "correct horse";

    #[test]
    fn a_value_opens_in_its_own_place_only_and_only_with_its_key() {
        let (home, other) = (CompanyId::from("c1"), CompanyId::from("c2"));
        let place = Place { company: &home, secret: "s1", version: 1 };
        let value = SecretValue::new(VALUE.to_owned());
        let sealed = key(1).seal(place, &value, [7; 16]);
        assert!(!sealed.contains("horse") && !format!("{value:?}").contains("horse"));
        assert_eq!(key(1).open(place, &sealed).unwrap(), value);
        for strange in [
            Place { company: &other, ..place },
            Place { secret: "s2", ..place },
            Place { version: 2, ..place },
        ] {
            assert!(matches!(key(1).open(strange, &sealed), Err(VaultError::Damaged)), "{strange:?}");
        }
        assert!(matches!(key(2).open(place, &sealed), Err(VaultError::Damaged)));
        for (from, to) in [("chacha20", "chacha19"), ("\"data\":\"", "\"data\":\"AAAA"), ("{", "[")] {
            assert!(key(1).open(place, &sealed.replacen(from, to, 1)).is_err(), "{from}");
        }
        assert_ne!(sealed, key(1).seal(place, &value, [8; 16]));
    }

    #[test]
    fn a_key_is_made_once_private_and_only_when_nothing_was_sealed_before() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(KEY_FILE);
        let vault = Vault::new(file.clone());
        let lost = vault.key_to_seal(Some("gone"), || [1; KEY_BYTES]).unwrap_err();
        assert!(matches!(lost, VaultError::Missing(_)), "{lost}");
        let made = vault.key_to_seal(None, || [1; KEY_BYTES]).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let second = Vault::new(file.clone());
        let same = second.key_to_seal(None, || [2; KEY_BYTES]).unwrap();
        assert_eq!(same.id(), made.id());
        assert_eq!(look_at_key(&file).unwrap().as_deref(), Some(made.id()));
        assert!(second.key(made.id()).is_ok());
        let other = second.key("another").unwrap_err().to_string();
        assert!(other.contains("give every node the same key file") && other.contains(made.id()), "{other}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn files_that_others_may_use_or_that_hold_no_key_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(KEY_FILE);
        let look = |text: &str, mode| {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            look_at_key(&file)
        };
        let (hex, base64) = ("01".repeat(32), STANDARD.encode([1; 32]));
        let id = key(1).id;
        assert_eq!(look(&hex, 0o600).unwrap().as_ref(), Some(&id));
        assert_eq!(look(&format!("{base64}\n"), 0o400).unwrap().as_ref(), Some(&id));
        assert_eq!(look(&hex, 0o440).unwrap(), Some(id));
        for mode in [0o644, 0o604, 0o660, 0o666] {
            assert!(matches!(look(&hex, mode), Err(VaultError::TooOpen { .. })), "{mode:o}");
        }
        for text in ["", "short", &"z".repeat(64), &STANDARD.encode([1; 31])] {
            assert!(matches!(look(text, 0o600), Err(VaultError::NoKey(_))), "{text}");
        }
        assert!(look_at_key(&folder.path().join("none")).unwrap().is_none());
    }
}
