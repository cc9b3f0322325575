//! The device as which an agent comes to a gateway: an Ed25519 key, an id made of it, and a signature over each
//! connection.
//!
//! Where the key is kept, and who draws it, is not known here.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{Ed25519KeyPair, KeyPair};
use sha2::{Digest, Sha256};

/// What stands before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410), in the version that every program reads.
const PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// A device that can prove that it is itself.
#[derive(Debug)]
pub(super) struct Device {
    pair: Ed25519KeyPair,
}

/// What a signature says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) client_id: &'a str,
    pub(super) client_mode: &'a str,
    pub(super) role: &'a str,
    pub(super) scopes: &'a [&'a str],
    pub(super) signed_at_ms: i64,
    pub(super) token: &'a str,
    pub(super) nonce: &'a str,
    pub(super) platform: &'a str,
    pub(super) family: &'a str,
}

impl Device {
    /// Reads a private key in PEM; line ends may be written as `\n`.
    pub(super) fn of_pem(pem: &str) -> Option<Device> {
        let pem = pem.replace("\\n", "\n");
        let (_, behind) = pem.split_once(BEGIN)?;
        let (body, _) = behind.split_once(END)?;
        let body: String = body.split_whitespace().collect();
        let der = STANDARD.decode(body).ok()?;
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).ok().map(|pair| Device { pair })
    }

    pub(super) fn of_seed(seed: &[u8; 32]) -> Device {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32 bytes are a key");
        Device { pair }
    }

    /// The SHA-256 of the public key, as hex.
    pub(super) fn id(&self) -> String {
        hex(&Sha256::digest(self.pair.public_key()))
    }

    /// The raw public key.
    pub(super) fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.public_key())
    }

    pub(super) fn sign(&self, claim: &Claim<'_>) -> String {
        let words = [
            "v3",
            &self.id(),
            claim.client_id,
            claim.client_mode,
            claim.role,
            &claim.scopes.join(","),
            &claim.signed_at_ms.to_string(),
            claim.token,
            claim.nonce,
            claim.platform,
            claim.family,
        ];
        URL_SAFE_NO_PAD.encode(self.pair.sign(words.join("|").as_bytes()))
    }
}

/// Writes the key that these random bytes are, as `devicePrivateKeyPem` of an agent of a gateway holds it.
pub fn device_private_key_pem(seed: [u8; 32]) -> String {
    let der = [&PKCS8[..], &seed[..]].concat();
    format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(der))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_key_that_was_written_is_read_again() {
        let pem = device_private_key_pem([7; 32]);
        let lines: Vec<&str> = pem.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[2]), (3, BEGIN, END));
        let (read, drawn) = (Device::of_pem(&pem).unwrap(), Device::of_seed(&[7; 32]));
        assert_eq!((read.id(), read.public_key()), (drawn.id(), drawn.public_key()));
        assert_eq!(read.id().len(), 64);
        let escaped = pem.replace('\n', "\\n");
        assert_eq!(Device::of_pem(&escaped).unwrap().id(), read.id());
        for broken in ["", "x", &pem.replace("PRIVATE", "PUBLIC"), &pem.replace("MC4C", "MC4D")] {
            assert!(Device::of_pem(broken).is_none(), "{broken}");
        }
    }

    #[test]
    fn a_key_of_another_program_is_read() {
        // From RFC 8410, 10.3.
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let device = Device::of_pem(pem).unwrap();
        assert_eq!(device.public_key(), "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE");
    }

    #[test]
    fn a_signature_is_over_all_that_it_claims() {
        let device = Device::of_seed(&[7; 32]);
        let claim = Claim {
            client_id: "gateway-client",
            client_mode: "backend",
            role: "operator",
            scopes: &["operator.admin", "operator.pairing"],
            signed_at_ms: 12,
            token: "t",
            nonce: "n",
            platform: "linux",
            family: "",
        };
        let text = format!(
            "v3|{}|gateway-client|backend|operator|operator.admin,operator.pairing|12|t|n|linux|",
            device.id()
        );
        let key = UnparsedPublicKey::new(&ED25519, URL_SAFE_NO_PAD.decode(device.public_key()).unwrap());
        let signature = URL_SAFE_NO_PAD.decode(device.sign(&claim)).unwrap();
        assert!(key.verify(text.as_bytes(), &signature).is_ok());
    }
}
