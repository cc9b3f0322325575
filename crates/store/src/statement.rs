//! Statements: one text for both engines, registered where it is written.
//!
//! `sql!("...")` makes a static that is also an entry of one list, so that a test can prepare every statement of the
//! program on both engines. The text of an engine is made once, at the first use. Nothing here runs a statement.

// The list is put together by the linker: its declaration names link sections, nothing else here is unsafe.
#![allow(unsafe_code)]

use std::sync::OnceLock;

/// What `sql!` gives: compared and passed around as an address.
pub type Sql = &'static Statement;

/// Sizes in which a list parameter is spelled out; few, so that the engines' statement caches stay small.
pub const LIST_SIZES: [usize; 4] = [1, 4, 16, 64];

#[derive(Debug)]
pub struct Statement {
    source: &'static str,
    list: usize,
    sqlite: OnceLock<Box<str>>,
    postgres: OnceLock<Box<str>>,
}

/// A statement with `{list}` in it, once for each of [`LIST_SIZES`].
#[derive(Debug)]
pub struct ListStatement {
    pub sizes: [Sql; LIST_SIZES.len()],
}

#[doc(hidden)]
#[linkme::distributed_slice]
pub static REGISTERED: [Sql];

/// All statements that `sql!` and `sql_list!` registered in this program, from all crates.
pub fn registered() -> impl Iterator<Item = Sql> {
    REGISTERED.iter().copied()
}

/// Makes and registers a statement; evaluates to [`Sql`].
#[macro_export]
macro_rules! sql {
    ($text:expr) => {{
        static STATEMENT: $crate::Statement = $crate::Statement::new($text, 0);
        $crate::register!(&STATEMENT);
        &STATEMENT
    }};
}

/// Makes and registers a statement with `IN ({list})` in it, for `rows_in` and `exec_in`. The parameters of the list
/// come after all others.
#[macro_export]
macro_rules! sql_list {
    ($text:expr) => {{
        static ONE: $crate::Statement = $crate::Statement::new($text, $crate::LIST_SIZES[0]);
        static FOUR: $crate::Statement = $crate::Statement::new($text, $crate::LIST_SIZES[1]);
        static SIXTEEN: $crate::Statement = $crate::Statement::new($text, $crate::LIST_SIZES[2]);
        static SIXTY_FOUR: $crate::Statement = $crate::Statement::new($text, $crate::LIST_SIZES[3]);
        static LIST: $crate::ListStatement =
            $crate::ListStatement { sizes: [&ONE, &FOUR, &SIXTEEN, &SIXTY_FOUR] };
        $crate::register!(&ONE);
        $crate::register!(&FOUR);
        $crate::register!(&SIXTEEN);
        $crate::register!(&SIXTY_FOUR);
        &LIST
    }};
}

#[doc(hidden)]
#[macro_export]
macro_rules! register {
    ($statement:expr) => {
        // An entry of the list is a static with a section of its own, which counts as unsafe; the list is made of them
        // by the linker, and the type of each is checked against the list.
        #[allow(unsafe_code)]
        const _: () = {
            #[$crate::linkme::distributed_slice($crate::statement::REGISTERED)]
            #[linkme(crate = $crate::linkme)]
            static ENTRY: $crate::Sql = $statement;
        };
    };
}

impl Statement {
    #[doc(hidden)]
    pub const fn new(source: &'static str, list: usize) -> Self {
        Self { source, list, sqlite: OnceLock::new(), postgres: OnceLock::new() }
    }

    /// The text as it stands in the program; names the statement in errors.
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// The text for SQLite: `$1` becomes `?1`.
    pub fn sqlite(&self) -> &str {
        self.sqlite.get_or_init(|| {
            // SQLite takes `$1` as a *named* parameter, numbered by first appearance: bound by position,
            // `... $2 ... $1` would silently get the wrong values.
            let text = self.spelled_out();
            let mut out = String::with_capacity(text.len());
            for piece in Pieces::of(&text) {
                match piece {
                    Piece::Parameter(number) => out.extend(["?", &number.to_string()]),
                    Piece::Token(_) => {}
                    Piece::Text(plain) => out.push_str(plain),
                }
            }
            out.into_boxed_str()
        })
    }

    /// The text for PostgreSQL: locking tokens become clauses.
    pub fn postgres(&self) -> &str {
        self.postgres.get_or_init(|| {
            let text = self.spelled_out();
            let mut out = String::with_capacity(text.len());
            for piece in Pieces::of(&text) {
                match piece {
                    Piece::Parameter(number) => out.extend(["$", &number.to_string()]),
                    Piece::Token("skip_locked") => out.push_str("FOR UPDATE SKIP LOCKED"),
                    Piece::Token("for_update") => out.push_str("FOR UPDATE"),
                    Piece::Token("only_postgres" | "only_sqlite") => {}
                    // Anything else is caught by the test that walks the registered statements.
                    Piece::Token(other) => out.extend(["/*+", other, "*/"]),
                    Piece::Text(plain) => out.push_str(plain),
                }
            }
            out.into_boxed_str()
        })
    }

    /// How many parameters the statement takes: the highest `$n`.
    pub fn parameters(&self) -> usize {
        highest_parameter(&self.spelled_out())
    }

    /// Whether the statement is meant for SQLite. What is for one engine alone says `/*+only_postgres*/` or
    /// `/*+only_sqlite*/`, and is left out where the other's statements are checked.
    pub fn is_for_sqlite(&self) -> bool {
        !Pieces::of(self.source).any(|piece| piece == Piece::Token("only_postgres"))
    }

    /// Whether the statement is meant for PostgreSQL.
    pub fn is_for_postgres(&self) -> bool {
        !Pieces::of(self.source).any(|piece| piece == Piece::Token("only_sqlite"))
    }

    /// Tokens of the form `/*+word*/` that no engine knows: misspelt ones would be silently ignored.
    pub fn unknown_tokens(&self) -> Vec<String> {
        Pieces::of(self.source)
            .filter_map(|piece| match piece {
                Piece::Token("skip_locked" | "for_update" | "only_postgres" | "only_sqlite") => None,
                Piece::Token(other) => Some(other.to_owned()),
                _ => None,
            })
            .collect()
    }

    fn spelled_out(&self) -> std::borrow::Cow<'static, str> {
        if self.list == 0 {
            return self.source.into();
        }
        let first = highest_parameter(self.source) + 1;
        let list: Vec<String> = (first..first + self.list).map(|number| format!("${number}")).collect();
        self.source.replace("{list}", &list.join(", ")).into()
    }
}

impl ListStatement {
    /// The smallest statement that takes `count` values, which is at most the largest of [`LIST_SIZES`].
    pub(crate) fn for_count(&self, count: usize) -> (Sql, usize) {
        let at = LIST_SIZES.iter().position(|size| *size >= count).unwrap_or(LIST_SIZES.len() - 1);
        (self.sizes[at], LIST_SIZES[at])
    }
}

fn highest_parameter(text: &str) -> usize {
    Pieces::of(text)
        .filter_map(|piece| match piece {
            Piece::Parameter(number) => Some(number),
            _ => None,
        })
        .max()
        .unwrap_or(0)
}

#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Text(&'a str),
    Parameter(usize),
    Token(&'a str),
}

/// Cuts a statement into parameters, `/*+token*/`s and the text between. Quoted text is left alone.
struct Pieces<'a> {
    rest: &'a str,
}

impl<'a> Pieces<'a> {
    fn of(text: &'a str) -> Self {
        Self { rest: text }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        if let Some((piece, rest)) = special(self.rest) {
            self.rest = rest;
            return Some(piece);
        }
        let mut quote = None;
        let mut end = self.rest.len();
        for (at, byte) in self.rest.bytes().enumerate() {
            match quote {
                Some(open) if byte == open => quote = None,
                Some(_) => {}
                None if byte == b'\'' || byte == b'"' => quote = Some(byte),
                // `$` and `/` are ASCII, so `at` is a boundary of characters.
                None if at > 0 && (byte == b'$' || byte == b'/') && special(&self.rest[at..]).is_some() => {
                    end = at;
                    break;
                }
                None => {}
            }
        }
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(Piece::Text(text))
    }
}

fn special(text: &str) -> Option<(Piece<'_>, &str)> {
    if let Some(after) = text.strip_prefix('$') {
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let number = after[..digits].parse().ok()?;
        return Some((Piece::Parameter(number), &after[digits..]));
    }
    let (word, rest) = text.strip_prefix("/*+")?.split_once("*/")?;
    Some((Piece::Token(word), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_keep_their_numbers_in_sqlite() {
        let statement = sql!("UPDATE t SET a = $2 WHERE b = $1 AND c <> '$3' AND d = $10");
        assert_eq!(statement.sqlite(), "UPDATE t SET a = ?2 WHERE b = ?1 AND c <> '$3' AND d = ?10");
        assert_eq!(statement.postgres(), statement.source());
        assert_eq!(statement.parameters(), 10);
    }

    #[test]
    fn locking_tokens_are_clauses_in_postgres_and_nothing_in_sqlite() {
        let statement = sql!("SELECT 1 LIMIT $1 /*+skip_locked*/");
        assert_eq!(statement.sqlite(), "SELECT 1 LIMIT ?1 ");
        assert_eq!(statement.postgres(), "SELECT 1 LIMIT $1 FOR UPDATE SKIP LOCKED");
        assert_eq!(Statement::new("SELECT 1 /*+for_udpate*/", 0).unknown_tokens(), ["for_udpate"]);
    }

    #[test]
    fn a_list_is_spelled_out_behind_the_other_parameters() {
        let list = sql_list!("SELECT a FROM t WHERE b = $1 AND c IN ({list})");
        assert_eq!(list.sizes[1].postgres(), "SELECT a FROM t WHERE b = $1 AND c IN ($2, $3, $4, $5)");
        assert_eq!(list.sizes[0].sqlite(), "SELECT a FROM t WHERE b = ?1 AND c IN (?2)");
        let sizes: Vec<usize> = [1, 2, 4, 5, 16, 17, 64].map(|count| list.for_count(count).1).into();
        assert_eq!(sizes, [1, 4, 4, 16, 16, 64, 64]);
    }

    #[test]
    fn a_statement_inside_a_function_is_registered() {
        let here = sql!("SELECT 1 WHERE 'registered' = 'registered'");
        assert!(registered().any(|statement| std::ptr::eq(statement, here)));
    }
}
