//! What must not reach the log is replaced before it touches the disk.
//!
//! Three filters in a row, each a stream of its own: large inline images, secret values, user
//! names. A filter holds bytes back only while they may be the beginning of something it
//! replaces, and then for as long as it takes: until more bytes decide it or the stream ends.
//! Releasing them after a pause would leak a secret that is printed in two halves. With nothing
//! to replace the bytes go through untouched and uncopied.

mod forms;
mod glance;
mod images;
mod secrets;
mod users;

use images::Images;
use secrets::Secrets;
use users::Users;

/// The filters of one stream.
#[derive(Debug)]
pub(crate) struct Redactor {
    images: Option<Images>,
    secrets: Option<Secrets>,
    users: Option<Users>,
    /// One scratch buffer per filter, empty until something was replaced.
    scratch: [Vec<u8>; 3],
}

impl Redactor {
    pub(crate) fn new(secrets: &[String], redact_images: bool, users: &[String]) -> Self {
        Self {
            images: redact_images.then(Images::new),
            secrets: Secrets::new(secrets),
            users: Users::new(users),
            scratch: Default::default(),
        }
    }

    /// Nothing will ever be replaced or held back.
    pub(crate) fn is_idle(&self) -> bool {
        self.images.is_none() && self.secrets.is_none() && self.users.is_none()
    }

    /// Takes the next bytes of the stream and returns what may be written now.
    pub(crate) fn push<'a>(&'a mut self, bytes: &'a [u8]) -> &'a [u8] {
        let [first, second, third] = &mut self.scratch;
        let bytes = self.images.as_mut().map_or(bytes, |filter| filter.push(bytes, first));
        let bytes = self.secrets.as_mut().map_or(bytes, |filter| filter.push(bytes, second));
        self.users.as_mut().map_or(bytes, |filter| filter.push(bytes, third))
    }

    /// Returns what was held back, at the end of the stream.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        if let Some(filter) = &mut self.images {
            filter.finish(&mut rest);
        }
        if let Some(filter) = &mut self.secrets {
            let mut out = filter.push(&rest, &mut self.scratch[1]).to_vec();
            filter.finish(&mut out);
            rest = out;
        }
        if let Some(filter) = &mut self.users {
            let mut out = filter.push(&rest, &mut self.scratch[2]).to_vec();
            filter.finish(&mut out);
            rest = out;
        }
        rest
    }

    /// Replaces in a text that is complete.
    pub(crate) fn whole(secrets: &[String], text: &str) -> String {
        let mut filter = Self::new(secrets, false, &[]);
        let mut out = filter.push(text.as_bytes()).to_vec();
        out.extend(filter.finish());
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// Replaces secret values, each at least eight bytes long, in bytes that are complete; `None` when none is in there.
pub fn hide(secrets: &[String], bytes: &[u8]) -> Option<Vec<u8>> {
    let mut filter = Secrets::new(secrets)?;
    let mut scratch = Vec::new();
    let mut out = filter.push(bytes, &mut scratch).to_vec();
    filter.finish(&mut out);
    (out != bytes).then_some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn in_pieces(filter: &mut Redactor, text: &[u8], cuts: &[usize]) -> Vec<u8> {
        let mut borders: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
        borders.push(text.len());
        borders.sort_unstable();
        let (mut out, mut from) = (Vec::new(), 0);
        for to in borders {
            out.extend_from_slice(filter.push(&text[from..to]));
            from = to;
        }
        out.extend(filter.finish());
        out
    }

    proptest! {
        #[test]
        fn without_anything_to_replace_bytes_are_identical(
            text in proptest::collection::vec(any::<u8>(), 0..500),
            cuts in proptest::collection::vec(any::<usize>(), 0..10),
        ) {
            let mut idle = Redactor::new(&[], false, &[]);
            prop_assert!(idle.is_idle());
            prop_assert_eq!(in_pieces(&mut idle, &text, &cuts), text.clone());
            let mut busy = Redactor::new(&["not in there at all".into()], true, &["nobody-at-all".into()]);
            prop_assert_eq!(in_pieces(&mut busy, &text, &cuts), text);
        }

        #[test]
        fn the_chain_does_not_depend_on_how_the_text_was_cut(
            parts in proptest::collection::vec(prop_oneof![
                Just("hunter2hunter2".to_owned()),
                Just("hunter2hun".to_owned()),
                Just(" bob ".to_owned()),
                Just("bob".to_owned()),
                Just(format!("{}{}\"", super::images::PLAIN, "A".repeat(1500))),
                "[a-z\"{}:, ]{0,12}",
            ], 0..12),
            cuts in proptest::collection::vec(any::<usize>(), 0..20),
        ) {
            let text = parts.concat().into_bytes();
            let filter = || Redactor::new(&["hunter2hunter2".into()], true, &["bob".into()]);
            let whole = in_pieces(&mut filter(), &text, &[]);
            prop_assert_eq!(in_pieces(&mut filter(), &text, &cuts), whole);
        }
    }
}
