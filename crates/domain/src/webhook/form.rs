//! What stands in the body of a form: GitHub sends its JSON as one field of it, unless it is told otherwise.

use super::proof::Scheme;

const FORM: &str = "application/x-www-form-urlencoded";
/// The field that GitHub writes its JSON into.
const PAYLOAD: &str = "payload";

/// The JSON that a sender wrapped into a form, as its scheme does that; `None` where nothing is wrapped. What is signed
/// is the form.
pub fn unwrapped(scheme: Scheme, content_type: Option<&str>, body: &[u8]) -> Option<Vec<u8>> {
    let kind = content_type?.split(';').next().unwrap_or_default().trim();
    let is_form = kind.eq_ignore_ascii_case(FORM);
    match scheme {
        Scheme::Github if is_form => field(body, PAYLOAD),
        Scheme::Github | Scheme::Standard | Scheme::SharedSecret => None,
    }
}

/// The first field of a name.
fn field(form: &[u8], name: &str) -> Option<Vec<u8>> {
    form.split(|byte| *byte == b'&').find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        (decoded(&pair[..at]) == name.as_bytes()).then(|| decoded(&pair[at + 1..]))
    })
}

/// A plus sign is a space, `%` and two digits are a byte, and all else is itself.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let (byte, left) = match (first, after) {
            (b'+', _) => (b' ', after),
            (b'%', [high, low, left @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high * 16 + low, left),
                (_, _) => (b'%', after),
            },
            (other, _) => (*other, after),
        };
        bytes.push(byte);
        rest = left;
    }
    bytes
}

fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        b'A'..=b'F' => Some(letter - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_github_wraps_is_unwrapped() {
        let body = b"a=1&payload=%7B%22ref%22%3A+%22m%C3%a4in%22%7D&payload=2";
        let found = Some("{\"ref\": \"m\u{e4}in\"}".as_bytes().to_vec());
        for (scheme, kind, expected) in [
            (Scheme::Github, Some(FORM), found.clone()),
            (Scheme::Github, Some("Application/X-WWW-Form-Urlencoded ; charset=utf-8"), found),
            (Scheme::Github, Some("application/json"), None),
            (Scheme::Github, None, None),
            (Scheme::Standard, Some(FORM), None),
            (Scheme::SharedSecret, Some(FORM), None),
        ] {
            assert_eq!(unwrapped(scheme, kind, body), expected, "{scheme} {kind:?}");
        }
    }

    #[test]
    fn what_is_no_good_form_is_taken_as_far_as_it_goes() {
        for (body, expected) in [
            ("", None),
            ("payload", None),
            ("payload=", Some("")),
            ("pay%6coad=x", Some("x")),
            ("payload=%", Some("%")),
            ("payload=%4", Some("%4")),
            ("payload=%zz%41=+", Some("%zzA= ")),
            ("other=payload=1", None),
        ] {
            let found = unwrapped(Scheme::Github, Some(FORM), body.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{body}");
        }
    }
}
