//! What a request may carry, and whom it makes of the caller (spec/api.md 2.1, 2.2; D19).
//!
//! A credential that matches nothing is refused: it never leaves the caller what it would be without one. Only the
//! hashes of credentials are stored, and only the store knows them; here is what is made of what it found.

use std::time::Duration;

use super::{Actor, AgentActor, AgentProof, Board, Membership, Proof, Refusal};
use crate::agent::AgentStatus;
use crate::ids::RunId;
use crate::moment::Moment;
use crate::words;

/// How long a board key lives.
pub const BOARD_KEY_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long a command line's login may take.
pub const CHALLENGE_LIFE: Duration = Duration::from_secs(10 * 60);

const RANDOM_BYTES: usize = 24;

words!(
    /// What callers can carry.
    CredentialKind {
        /// Of an agent; until it is revoked.
        AgentKey = "agent_key",
        /// Of a person; 30 days.
        BoardKey = "board_key",
        /// Of a command line that waits for a person; 10 minutes.
        ChallengeSecret = "challenge_secret",
        /// Of one run, while it runs.
        RunToken = "run_token",
    }
);

impl CredentialKind {
    /// How its text begins.
    pub const fn prefix(self) -> &'static str {
        match self {
            CredentialKind::AgentKey => "pcp_",
            CredentialKind::BoardKey => "pcp_board_",
            CredentialKind::ChallengeSecret => "pcp_cli_auth_",
            CredentialKind::RunToken => "bgl_run_",
        }
    }

    /// Makes one from random bytes.
    pub fn mint(self, random: [u8; RANDOM_BYTES]) -> String {
        let mut text = self.prefix().to_owned();
        for byte in random {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(digit), 16).expect("a nibble is below 16"));
            }
        }
        text
    }

    /// The kind that a text has the form of: prefix and 48 lower-case hex digits.
    pub fn of(text: &str) -> Option<CredentialKind> {
        let is_hex = |rest: &str| {
            rest.len() == 2 * RANDOM_BYTES && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        CredentialKind::ALL.iter().copied().find(|kind| text.strip_prefix(kind.prefix()).is_some_and(is_hex))
    }

    /// When one that is made now ends by itself.
    pub fn expires_at(self, now: Moment) -> Option<Moment> {
        match self {
            CredentialKind::BoardKey => Some(now.plus(BOARD_KEY_LIFE)),
            CredentialKind::ChallengeSecret => Some(now.plus(CHALLENGE_LIFE)),
            CredentialKind::AgentKey | CredentialKind::RunToken => None,
        }
    }
}

words!(
    /// Whom an instance trusts.
    Mode {
        /// Whoever reaches the loopback listener is the board.
        LocalTrusted = "local_trusted",
        /// Whoever has a credential.
        Authenticated = "authenticated",
    }
);

/// What the request carries, with what the store found for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carried {
    /// No `Authorization` header.
    Nothing,
    /// A browser's session that is alive.
    Session(Person),
    /// The local board token of a trusted instance, and it is right.
    LocalBoardToken,
    BoardKey(BoardKey),
    AgentKey(AgentKey),
    RunToken(RunToken),
    /// A header that matches nothing, is empty or is not a bearer's.
    Unknown,
}

/// A user, as far as access goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub user: String,
    pub is_instance_admin: bool,
    pub memberships: Vec<Membership>,
}

/// A board key, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardKey {
    pub id: String,
    pub is_revoked: bool,
    pub expires_at: Option<Moment>,
    /// `None`: the user is gone.
    pub person: Option<Person>,
}

/// An agent key, as stored. The proof in `agent` is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentKey {
    pub id: String,
    pub is_revoked: bool,
    /// `None`: the agent is gone.
    pub agent: Option<(AgentActor, AgentStatus)>,
}

/// A run's token, as stored with its run. The proof in `agent` is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunToken {
    pub run: RunId,
    /// The run is running, with the epoch the token was made for.
    pub is_live: bool,
    /// `None`: the agent is gone.
    pub agent: Option<(AgentActor, AgentStatus)>,
}

/// Says who asks. `run` is what the run header says; a run's token outweighs it.
pub fn resolve(mode: Mode, carried: Carried, run: Option<RunId>, now: Moment) -> Result<Actor, Refusal> {
    let person = |person: Person, proof| {
        Actor::Board(Board {
            user: person.user,
            proof,
            is_instance_admin: person.is_instance_admin,
            memberships: person.memberships,
            run: run.clone(),
        })
    };
    match carried {
        Carried::Nothing => Ok(match mode {
            Mode::LocalTrusted => Actor::Board(Board::local(Proof::LocalImplicit, run)),
            Mode::Authenticated => Actor::Nobody,
        }),
        Carried::Session(who) => Ok(person(who, Proof::Session)),
        Carried::LocalBoardToken => match mode {
            Mode::LocalTrusted => Ok(Actor::Board(Board::local(Proof::LocalToken, run))),
            Mode::Authenticated => Err(Refusal::BadToken),
        },
        Carried::BoardKey(key) => {
            let is_over = key.is_revoked || key.expires_at.is_some_and(|at| at <= now);
            let who = key.person.filter(|_| !is_over).ok_or(Refusal::BadToken)?;
            Ok(person(who, Proof::BoardKey { key_id: key.id }))
        }
        Carried::AgentKey(key) => {
            let agent = working(key.agent).filter(|_| !key.is_revoked).ok_or(Refusal::BadToken)?;
            Ok(Actor::Agent(AgentActor { proof: AgentProof::Key { key_id: key.id, run }, ..agent }))
        }
        Carried::RunToken(token) => {
            let agent = working(token.agent).ok_or(Refusal::BadToken)?;
            if !token.is_live {
                return Err(Refusal::RunEnded);
            }
            Ok(Actor::Agent(AgentActor { proof: AgentProof::Run(token.run), ..agent }))
        }
        Carried::Unknown => Err(Refusal::BadToken),
    }
}

/// An agent that was let go, or not taken on yet, has no say.
fn working(agent: Option<(AgentActor, AgentStatus)>) -> Option<AgentActor> {
    agent
        .filter(|(_, status)| !matches!(status, AgentStatus::Terminated | AgentStatus::PendingApproval))
        .map(|(agent, _)| agent)
}

#[cfg(test)]
mod tests {
    use super::super::samples::agent;
    use super::*;
    use crate::agent::Role;

    #[test]
    fn credentials_have_a_form_by_which_they_are_known() {
        let digits = "00010203ff".to_owned() + &"ab".repeat(19);
        let mut random = [0xab; RANDOM_BYTES];
        random[..5].copy_from_slice(&[0, 1, 2, 3, 0xff]);
        for (kind, text) in [
            (CredentialKind::AgentKey, format!("pcp_{digits}")),
            (CredentialKind::BoardKey, format!("pcp_board_{digits}")),
            (CredentialKind::ChallengeSecret, format!("pcp_cli_auth_{digits}")),
            (CredentialKind::RunToken, format!("bgl_run_{digits}")),
        ] {
            assert_eq!(kind.mint(random), text);
            assert_eq!(CredentialKind::of(&text), Some(kind));
            assert_eq!(CredentialKind::of(&text[..text.len() - 1]), None);
            assert_eq!(CredentialKind::of(&format!("{text}0")), None);
            assert_eq!(CredentialKind::of(&text.to_uppercase()), None);
        }
        for text in ["", "pcp_", &digits, &format!("pcp_{}", digits.replace('a', "g"))] {
            assert_eq!(CredentialKind::of(text), None, "{text}");
        }
    }

    #[test]
    fn board_keys_live_thirty_days_and_challenges_ten_minutes() {
        let now = Moment::parse("2026-04-01T12:00:00Z").expect("valid");
        for (kind, end) in [
            (CredentialKind::AgentKey, None),
            (CredentialKind::BoardKey, Some("2026-05-01T12:00:00.000Z")),
            (CredentialKind::ChallengeSecret, Some("2026-04-01T12:10:00.000Z")),
            (CredentialKind::RunToken, None),
        ] {
            assert_eq!(kind.expires_at(now).map(Moment::iso).as_deref(), end, "{kind}");
        }
    }

    const NOW: Moment = Moment::from_micros(1_000);

    fn who() -> Person {
        Person { user: "u1".into(), is_instance_admin: true, memberships: vec![] }
    }

    fn board_key(is_revoked: bool, expires_at: Option<i64>, is_there: bool) -> Carried {
        Carried::BoardKey(BoardKey {
            id: "k1".into(),
            is_revoked,
            expires_at: expires_at.map(Moment::from_micros),
            person: is_there.then(who),
        })
    }

    fn agent_key(is_revoked: bool, status: Option<AgentStatus>) -> Carried {
        let agent = status.map(|status| (agent("a1", Role::Engineer), status));
        Carried::AgentKey(AgentKey { id: "k2".into(), is_revoked, agent })
    }

    fn run_token(is_live: bool, status: Option<AgentStatus>) -> Carried {
        let agent = status.map(|status| (agent("a1", Role::Engineer), status));
        Carried::RunToken(RunToken { run: RunId::from("r9"), is_live, agent })
    }

    #[test]
    fn each_credential_makes_its_actor_or_is_refused() {
        let said = Some(RunId::from("said"));
        let local = |proof| Ok(Actor::Board(Board::local(proof, said.clone())));
        let board = |proof| {
            Ok(Actor::Board(Board {
                user: "u1".into(),
                proof,
                is_instance_admin: true,
                memberships: vec![],
                run: said.clone(),
            }))
        };
        let by_key = Ok(Actor::Agent(AgentActor {
            proof: AgentProof::Key { key_id: "k2".into(), run: said.clone() },
            ..agent("a1", Role::Engineer)
        }));
        // Its own run, not the one that is said.
        let by_run = Ok(Actor::Agent(AgentActor {
            proof: AgentProof::Run(RunId::from("r9")),
            ..agent("a1", Role::Engineer)
        }));
        let key = || board(Proof::BoardKey { key_id: "k1".into() });
        let bad = || Err(Refusal::BadToken);
        use AgentStatus::{Active, Error, Idle, Paused, PendingApproval, Running, Terminated};
        let mut rows = vec![
            (Carried::Nothing, local(Proof::LocalImplicit), Ok(Actor::Nobody)),
            (Carried::Unknown, bad(), bad()),
            (Carried::LocalBoardToken, local(Proof::LocalToken), bad()),
            (Carried::Session(who()), board(Proof::Session), board(Proof::Session)),
            (board_key(false, None, true), key(), key()),
            (board_key(false, Some(1_001), true), key(), key()),
            (board_key(false, Some(1_000), true), bad(), bad()),
            (board_key(true, None, true), bad(), bad()),
            (board_key(false, None, false), bad(), bad()),
            (agent_key(true, Some(Idle)), bad(), bad()),
            (agent_key(false, None), bad(), bad()),
            (run_token(false, Some(Running)), Err(Refusal::RunEnded), Err(Refusal::RunEnded)),
            (run_token(false, Some(Terminated)), bad(), bad()),
            (run_token(true, None), bad(), bad()),
        ];
        for status in [Active, Idle, Running, Error, Paused] {
            rows.push((agent_key(false, Some(status)), by_key.clone(), by_key.clone()));
            rows.push((run_token(true, Some(status)), by_run.clone(), by_run.clone()));
        }
        for status in [PendingApproval, Terminated] {
            rows.push((agent_key(false, Some(status)), bad(), bad()));
            rows.push((run_token(true, Some(status)), bad(), bad()));
        }
        for (carried, trusted, authenticated) in rows {
            for (mode, expected) in [(Mode::LocalTrusted, trusted), (Mode::Authenticated, authenticated)] {
                assert_eq!(resolve(mode, carried.clone(), said.clone(), NOW), expected, "{mode} {carried:?}");
            }
        }
    }
}
