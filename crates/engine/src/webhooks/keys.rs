//! What endpoints sign with and triggers check with: made, sealed, opened, used.
//!
//! A signature is an HMAC-SHA256. Whether one is right is found in a time that says nothing about how much of it was.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::ids::CompanyId;
use domain::moment::Moment;
use domain::webhook::proof::{Proof, Scheme};
use ring::hmac;
use store::Tx;
use store::webhooks::secrets::{self, SealedSecret};
use zeroize::Zeroizing;

use crate::issues::Sheet;
use crate::secrets::vault::{Key, Place, Vault, VaultError};
use crate::secrets::{SecretValue, hold_key};
use crate::{EngineError, Inner};

/// What a secret of the standard convention begins with.
const PREFIX: &str = "whsec_";
/// As long as that convention wants them.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;
/// Other secrets are at least as long as anything that is hidden in logs, and no longer than a header may be.
const TEXT_LENGTHS: std::ops::RangeInclusive<usize> = 8..=1_024;
/// Versions that are good at the same time.
pub(crate) const MOST_GOOD: i64 = 8;

impl Inner {
    /// Draws a secret of the standard convention.
    pub(crate) fn drawn_secret(&self) -> SecretValue {
        let mut bytes = Zeroizing::new([0; 32]);
        bytes[..16].copy_from_slice(&self.dice.bytes());
        bytes[16..].copy_from_slice(&self.dice.bytes());
        SecretValue::new(format!("{PREFIX}{}", STANDARD.encode(&bytes[..])))
    }
}

/// Notes what is wrong with a secret that somebody chose.
pub(crate) fn check(sheet: &mut Sheet, scheme: Scheme, secret: &SecretValue) {
    let text = secret.expose();
    let is_good = match scheme {
        Scheme::Standard => decoded(text).is_some_and(|bytes| LENGTHS.contains(&bytes.len())),
        Scheme::Github | Scheme::SharedSecret => {
            TEXT_LENGTHS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        }
    };
    match (is_good, scheme) {
        (true, _) => {}
        (false, Scheme::Standard) => sheet.wrong(
            "secret",
            "is not `whsec_` and 24 to 64 bytes in base64",
            "leave it out: a good one is made, and shown once",
        ),
        (false, Scheme::Github | Scheme::SharedSecret) => sheet.wrong(
            "secret",
            "must be 8 to 1024 letters, digits and signs, without spaces",
            "leave it out: a good one is made, and shown once",
        ),
    }
}

fn decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    STANDARD.decode(text.strip_prefix(PREFIX)?).ok().map(Zeroizing::new)
}

/// Seals a secret as the latest version of its owner. One that was there before is good for as long as it was given.
pub(crate) async fn keep(
    tx: &mut Tx<'_>,
    key: &Key,
    (company, owner, version): (&CompanyId, &str, i64),
    secret: &SecretValue,
    random: [u8; 16],
    now: Moment,
) -> Result<(), EngineError> {
    hold_key(tx, key, now).await?;
    let place = Place { company, secret: owner, version };
    let sealed = SealedSecret {
        owner_id: owner.to_owned(),
        version,
        company_id: company.clone(),
        key_id: key.id().to_owned(),
        material: key.seal(place, secret, random),
        expires_at: None,
        created_at: now,
    };
    Ok(secrets::insert(tx, &sealed).await?)
}

/// Opens sealed secrets.
pub(crate) fn opened(vault: &Vault, sealed: &[SealedSecret]) -> Result<Vec<SecretValue>, VaultError> {
    sealed
        .iter()
        .map(|one| {
            let place = Place { company: &one.company_id, secret: &one.owner_id, version: one.version };
            vault.key(&one.key_id)?.open(place, &one.material)
        })
        .collect()
}

fn keyed(scheme: Scheme, secret: &SecretValue) -> hmac::Key {
    let text = secret.expose();
    let standard = (scheme == Scheme::Standard).then(|| decoded(text)).flatten();
    hmac::Key::new(hmac::HMAC_SHA256, standard.as_ref().map_or(text.as_bytes(), |bytes| &bytes[..]))
}

/// Signs a message of the standard convention with each secret: the value of `webhook-signature`.
pub(crate) fn signature(secrets: &[SecretValue], id: &str, timestamp: i64, body: &[u8]) -> String {
    let signed = |secret: &SecretValue| {
        let mut context = hmac::Context::with_key(&keyed(Scheme::Standard, secret));
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    };
    secrets.iter().map(signed).collect::<Vec<_>>().join(" ")
}

/// Whether one of the secrets proves what was shown.
pub(crate) fn is_proven(scheme: Scheme, secrets: &[SecretValue], proof: &Proof, body: &[u8]) -> bool {
    let is_signed = |prefix: &str, shown: &[u8]| {
        let mut message = Vec::with_capacity(prefix.len() + body.len());
        message.extend_from_slice(prefix.as_bytes());
        message.extend_from_slice(body);
        secrets.iter().any(|secret| hmac::verify(&keyed(scheme, secret), &message, shown).is_ok())
    };
    match proof {
        Proof::Base64 { prefix, signatures } => signatures
            .iter()
            .filter_map(|one| STANDARD.decode(one).ok())
            .any(|shown| is_signed(prefix, &shown)),
        Proof::Hex { signature } => unhexed(signature).is_some_and(|shown| is_signed("", &shown)),
        // Both are put through the same function, so that the comparison is of two tags.
        Proof::Plain { secret: shown } => secrets.iter().any(|secret| {
            let key = keyed(scheme, secret);
            hmac::verify(&key, shown.as_bytes(), hmac::sign(&key, secret.expose().as_bytes()).as_ref())
                .is_ok()
        }),
    }
}

fn unhexed(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretValue {
        SecretValue::new(text.to_owned())
    }

    const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn signatures_are_those_of_the_published_example() {
        // The example of the convention's own libraries.
        let body = br#"{"test": 2432232314}"#;
        let shown =
            signature(&[secret(STANDARD_SECRET)], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(shown, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let proof = |signatures: &[&str]| Proof::Base64 {
            prefix: "msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.".to_owned(),
            signatures: signatures.iter().map(|one| (*one).to_owned()).collect(),
        };
        let good = "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let secrets = [secret("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), secret(STANDARD_SECRET)];
        assert!(is_proven(Scheme::Standard, &secrets, &proof(&["AAAA", good]), body));
        assert!(!is_proven(Scheme::Standard, &secrets[..1], &proof(&[good]), body));
        assert!(!is_proven(Scheme::Standard, &secrets, &proof(&[good]), b"{}"));
        assert!(!is_proven(Scheme::Standard, &secrets, &proof(&["", "?"]), body));
        assert!(!is_proven(Scheme::Standard, &[], &proof(&[good]), body));
    }

    #[test]
    fn the_other_schemes_prove_what_they_show() {
        // The example of GitHub's documentation.
        let own = [secret("It's-a-Secret-to-Everybody")];
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"It's-a-Secret-to-Everybody");
        let tag: String =
            hmac::sign(&key, b"Hello, World!").as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let hex = |signature: &str| Proof::Hex { signature: signature.to_owned() };
        assert!(is_proven(Scheme::Github, &own, &hex(&tag), b"Hello, World!"));
        assert!(is_proven(Scheme::Github, &own, &hex(&tag.to_uppercase()), b"Hello, World!"));
        for wrong in ["", "00", &tag[2..], &tag.replace(&tag[..1], "x"), "é0"] {
            assert!(!is_proven(Scheme::Github, &own, &hex(wrong), b"Hello, World!"), "{wrong}");
        }
        let plain = |text: &str| Proof::Plain { secret: text.to_owned() };
        assert!(is_proven(Scheme::SharedSecret, &own, &plain("It's-a-Secret-to-Everybody"), b""));
        for wrong in ["", "It's-a-Secret-to-Everybod", "it's-a-secret-to-everybody"] {
            assert!(!is_proven(Scheme::SharedSecret, &own, &plain(wrong), b""), "{wrong}");
        }
    }

    #[test]
    fn a_secret_that_proves_little_is_refused() {
        for (scheme, text, is_good) in [
            (Scheme::Standard, STANDARD_SECRET, true),
            (Scheme::Standard, "whsec_c2hvcnQ=", false),
            (Scheme::Standard, "whsec_???", false),
            (Scheme::Standard, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", false),
            (Scheme::Github, "long-enough", true),
            (Scheme::Github, "short", false),
            (Scheme::SharedSecret, "with a space", false),
            (Scheme::SharedSecret, &"x".repeat(1_025), false),
        ] {
            let mut sheet = Sheet::default();
            check(&mut sheet, scheme, &secret(text));
            assert_eq!(sheet.finish().is_ok(), is_good, "{scheme} {text}");
        }
    }
}
