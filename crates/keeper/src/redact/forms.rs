//! The ways in which a value may be written down: as it is, and as programs write it into something else.
//!
//! A value is hidden in JSON whatever its length. Its encodings (base64, percent signs, hexadecimal digits) only where it is
//! long enough to be told apart in them, and short enough that looking for all of them costs little. What spreads a value
//! over lines, or changes it in any other way, is not undone.

use crate::sealed::SHORTEST_SECRET;

/// Values that are looked for in their encodings, in bytes.
const ENCODED: std::ops::RangeInclusive<usize> = 16..=4096;
/// What is left as it is besides letters and digits: by RFC 3986, with slashes as Python does, and as browsers do.
const UNRESERVED: [&[u8]; 3] = [b"-._~", b"-._~/", b"-._~!'()*"];

/// The byte strings to look for, each once.
pub(crate) fn forms(values: &[String]) -> Vec<Vec<u8>> {
    let mut forms: Vec<Vec<u8>> = Vec::new();
    let mut add = |form: Vec<u8>| {
        if form.len() >= SHORTEST_SECRET && !forms.contains(&form) {
            forms.push(form);
        }
    };
    for value in values {
        let trimmed = value.trim();
        for text in [value.as_str(), trimmed] {
            add(text.as_bytes().to_vec());
            of_json(text).into_iter().for_each(&mut add);
        }
        // Where it stands inside, the white space around it is only more of what surrounds it.
        if ENCODED.contains(&trimmed.len()) {
            let bytes = trimmed.as_bytes();
            (0..3).flat_map(|before| base64(bytes, before)).for_each(&mut add);
            percent(bytes).into_iter().for_each(&mut add);
            for digits in [b"0123456789abcdef", b"0123456789ABCDEF"] {
                add(bytes.iter().flat_map(|byte| hex(*byte, digits)).collect());
            }
        }
    }
    forms
}

/// As JSON writes it, also with its slashes and its letters beyond ASCII escaped, and as JSON inside of JSON.
fn of_json(text: &str) -> Vec<Vec<u8>> {
    let once = quoted(text);
    let slashed = once.replace('/', "\\/");
    let mut ascii = String::new();
    for letter in once.chars() {
        if letter.is_ascii() {
            ascii.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    let twice = quoted(&once);
    [once, slashed, ascii, twice].into_iter().map(String::into_bytes).collect()
}

fn quoted(text: &str) -> String {
    let quoted = serde_json::to_string(text).expect("a string always serialises");
    quoted[1..quoted.len() - 1].to_owned()
}

/// The digits of base64 that say nothing of anything else, where so many bytes beyond a multiple of three stand before the
/// value: in the ordinary alphabet, and in that of URLs. The digits at both ends are shared with what stands there.
fn base64(value: &[u8], before: usize) -> [Vec<u8>; 2] {
    let mut bits: Vec<u8> = vec![0; before];
    bits.extend_from_slice(value);
    let first = (before * 8).div_ceil(6);
    let behind = bits.len() * 8 / 6;
    // A digit may reach into a byte that is not there; it is not among those that are taken.
    bits.extend_from_slice(&[0, 0]);
    let digit = |at: usize, two: [u8; 2]| {
        let from = at * 6;
        let pair = u16::from_be_bytes([bits[from / 8], bits[from / 8 + 1]]);
        match pair >> (10 - from % 8) & 63 {
            number @ 0..26 => b'A' + number as u8,
            number @ 26..52 => b'a' + (number - 26) as u8,
            number @ 52..62 => b'0' + (number - 52) as u8,
            62 => two[0],
            _ => two[1],
        }
    };
    [*b"+/", *b"-_"].map(|two| (first..behind).map(|at| digit(at, two)).collect())
}

fn percent(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for digits in [b"0123456789ABCDEF", b"0123456789abcdef"] {
        let write = |keeps: &[u8], space: Option<u8>| {
            let mut out = Vec::with_capacity(value.len() * 3);
            for byte in value {
                match (byte, space) {
                    (b' ', Some(space)) => out.push(space),
                    _ if byte.is_ascii_alphanumeric() || keeps.contains(byte) => out.push(*byte),
                    _ => {
                        out.push(b'%');
                        out.extend(hex(*byte, digits));
                    }
                }
            }
            out
        };
        forms.extend(UNRESERVED.map(|keeps| write(keeps, None)));
        // Forms: a space is a plus.
        forms.push(write(b"-._*", Some(b'+')));
        forms.push(write(b"-._~", Some(b'+')));
    }
    forms
}

fn hex(byte: u8, digits: &[u8; 16]) -> [u8; 2] {
    [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;
    use crate::redact::Redactor;
    use crate::redact::tests::in_pieces;

    const SECRET: &str = "sk-l/ve+A 1\u{fc}B\"2?C=3~d";

    fn hidden(text: &str) -> String {
        Redactor::whole(&[SECRET.to_owned()], text)
    }

    #[test]
    fn a_value_is_hidden_in_every_usual_encoding() {
        let upper = |text: &str| text.to_uppercase();
        let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
        for written in [
            SECRET.to_owned(),
            serde_json::to_string(SECRET).unwrap(),
            serde_json::to_string(&serde_json::to_string(SECRET).unwrap()).unwrap(),
            SECRET.replace('"', "\\\"").replace('/', "\\/"),
            SECRET.replace('"', "\\\"").replace('\u{fc}', "\\u00fc"),
            // As `encodeURIComponent`, Python's `quote`, a form, and in small letters.
            "sk-l%2Fve%2BA%201%C3%BCB%222%3FC%3D3~d".to_owned(),
            "sk-l/ve%2BA%201%C3%BCB%222%3FC%3D3~d".to_owned(),
            "sk-l%2Fve%2BA+1%C3%BCB%222%3FC%3D3%7Ed".to_owned(),
            "sk-l%2fve%2bA%201%c3%bcB%222%3fC%3d3~d".to_owned(),
            upper(&hex),
            hex,
        ] {
            let text = hidden(&format!("<{written}>"));
            assert!(text.contains("***REDACTED***"), "{written}: {text}");
            assert!(text.len() < 40, "{written}: {text}");
        }
    }

    #[test]
    fn short_and_huge_values_are_looked_for_as_they_are_only() {
        let of = |length: usize| forms(&["a".repeat(length)]).len();
        assert_eq!((of(8), of(15), of(4097)), (1, 1, 1));
        assert!(of(16) > 4 && of(4096) > 4);
    }

    proptest! {
        #[test]
        fn base64_hides_all_but_its_edges_wherever_the_value_stands_and_however_it_is_cut(
            value in "[ -~]{16,60}",
            before in "[ -~]{0,7}",
            after in "[ -~]{0,7}",
            is_for_urls in any::<bool>(),
            cuts in proptest::collection::vec(any::<usize>(), 0..8),
        ) {
            prop_assume!(value.trim().len() >= 16);
            let whole = format!("{before}{value}{after}");
            let text = if is_for_urls { URL_SAFE_NO_PAD.encode(&whole) } else { STANDARD.encode(&whole) };
            let mut filter = Redactor::new(std::slice::from_ref(&value), false, &[]);
            let out = String::from_utf8(in_pieces(&mut filter, text.as_bytes(), &cuts)).unwrap();
            prop_assert!(out.contains("***REDACTED***"), "{}: {}", text, out);
            // What is left holds what stands around it, and less than a byte at each end.
            let around = whole.len() - value.trim().len();
            prop_assert!(out.len() <= "***REDACTED***".len() + around * 4 / 3 + 8, "{}: {}", text, out);
        }

        #[test]
        fn hexadecimal_digits_hide_the_value_however_they_are_cut(
            value in "[!-~]{16,40}",
            cuts in proptest::collection::vec(any::<usize>(), 0..8),
        ) {
            let text: String = value.bytes().map(|byte| format!("{byte:02X}")).collect();
            let mut filter = Redactor::new(&[value], false, &[]);
            prop_assert_eq!(in_pieces(&mut filter, text.as_bytes(), &cuts), b"***REDACTED***");
        }
    }
}
