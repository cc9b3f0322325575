//! The login of a command line: it shows a link, a person approves it, and the key it was handed becomes valid.
//!
//! The secret is looked up by its hash elsewhere; who does not have it does not learn that the challenge exists.

use super::{Actor, Board, Proof, Refusal};
use crate::moment::Moment;
use crate::words;

/// How often a command line is told to look.
pub const POLL_EVERY_MS: u64 = 1_000;

words!(
    /// Where a challenge stands.
    ChallengeStatus { Pending = "pending", Approved = "approved", Cancelled = "cancelled", Expired = "expired" }
);

words!(
    /// What a command line wants.
    RequestedAccess { Board = "board", InstanceAdmin = "instance_admin_required" }
);

/// A challenge, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    pub requested: RequestedAccess,
    pub expires_at: Moment,
    pub approved_at: Option<Moment>,
    pub cancelled_at: Option<Moment>,
}

impl Challenge {
    /// Where it stands. What was decided stays so when the time is over.
    pub fn status(&self, now: Moment) -> ChallengeStatus {
        if self.cancelled_at.is_some() {
            ChallengeStatus::Cancelled
        } else if self.approved_at.is_some() {
            ChallengeStatus::Approved
        } else if self.expires_at <= now {
            ChallengeStatus::Expired
        } else {
            ChallengeStatus::Pending
        }
    }

    /// `requiresSignIn`: whoever looks has to sign in before they can approve.
    pub fn requires_sign_in(&self, actor: &Actor) -> bool {
        !matches!(actor, Actor::Board(_))
    }

    /// `canApprove`.
    pub fn can_approve(&self, actor: &Actor, now: Moment) -> bool {
        self.status(now) == ChallengeStatus::Pending && self.approver(actor).is_ok()
    }

    /// The person who may approve it.
    ///
    /// What comes out is a key that proves a person, so that a trusted instance asks for the same proof (D19).
    pub fn approver<'a>(&self, actor: &'a Actor) -> Result<&'a Board, Refusal> {
        let Actor::Board(board) = actor else { return Err(Refusal::ApproverSignInRequired) };
        if board.proof == Proof::LocalImplicit {
            return Err(Refusal::BoardTokenRequired);
        }
        if self.requested == RequestedAccess::InstanceAdmin && !board.has_all_grants() {
            return Err(Refusal::InstanceAdminRequiredShort);
        }
        Ok(board)
    }
}

/// What an approval or a cancel does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is done now.
    Done,
    /// Nothing changes; the answer is where it stands.
    Stands(ChallengeStatus),
}

/// Approves: the key becomes valid, for 30 days from now.
pub fn approve(challenge: &Challenge, actor: &Actor, now: Moment) -> Result<Step, Refusal> {
    challenge.approver(actor)?;
    Ok(match challenge.status(now) {
        ChallengeStatus::Pending => Step::Done,
        status @ (ChallengeStatus::Approved | ChallengeStatus::Cancelled | ChallengeStatus::Expired) => {
            Step::Stands(status)
        }
    })
}

/// Cancels; whoever has the secret may. A key that was approved is revoked, not cancelled.
pub fn cancel(challenge: &Challenge, now: Moment) -> Step {
    match challenge.status(now) {
        ChallengeStatus::Pending => Step::Done,
        status @ (ChallengeStatus::Approved | ChallengeStatus::Cancelled | ChallengeStatus::Expired) => {
            Step::Stands(status)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{agent, local, member, person};
    use super::super::{MemberRole, MembershipStatus};
    use super::*;
    use crate::agent::Role;

    fn challenge(approved: bool, cancelled: bool) -> Challenge {
        let at = Some(Moment::from_micros(5));
        Challenge {
            requested: RequestedAccess::Board,
            expires_at: Moment::from_micros(100),
            approved_at: at.filter(|_| approved),
            cancelled_at: at.filter(|_| cancelled),
        }
    }

    #[test]
    fn a_decision_stays_and_without_one_the_time_runs_out() {
        use ChallengeStatus::{Approved, Cancelled, Expired, Pending};
        let owner = member(MemberRole::Owner);
        for (approved, cancelled, at, status) in [
            (false, false, 99, Pending),
            (false, false, 100, Expired),
            (true, false, 99, Approved),
            (true, false, 100, Approved),
            (false, true, 99, Cancelled),
            (false, true, 100, Cancelled),
            (true, true, 99, Cancelled),
        ] {
            let (challenge, now) = (challenge(approved, cancelled), Moment::from_micros(at));
            assert_eq!(challenge.status(now), status);
            let step = if status == Pending { Step::Done } else { Step::Stands(status) };
            assert_eq!(approve(&challenge, &owner, now), Ok(step));
            assert_eq!(cancel(&challenge, now), step);
            assert_eq!(challenge.can_approve(&owner, now), status == Pending);
        }
    }

    #[test]
    fn only_a_person_who_is_known_as_one_approves() {
        let admin = Actor::Board(Board {
            is_instance_admin: true,
            ..person(MemberRole::Viewer, MembershipStatus::Active)
        });
        let keyed = Actor::Board(Board {
            proof: Proof::BoardKey { key_id: "k".into() },
            ..person(MemberRole::Member, MembershipStatus::Active)
        });
        let with_token = Actor::Board(Board::local(Proof::LocalToken, None));
        let sign_in = Some(Refusal::ApproverSignInRequired);
        let rows = [
            ("nobody", Actor::Nobody, sign_in.clone(), sign_in.clone()),
            ("agent", Actor::Agent(agent("a1", Role::Ceo)), sign_in.clone(), sign_in),
            ("member", member(MemberRole::Owner), None, Some(Refusal::InstanceAdminRequiredShort)),
            ("key", keyed, None, Some(Refusal::InstanceAdminRequiredShort)),
            ("admin", admin, None, None),
            ("local", local(), Some(Refusal::BoardTokenRequired), Some(Refusal::BoardTokenRequired)),
            ("local with token", with_token, None, None),
        ];
        for (name, actor, for_board, for_admin) in rows {
            for (requested, refused) in
                [(RequestedAccess::Board, for_board), (RequestedAccess::InstanceAdmin, for_admin)]
            {
                let challenge = Challenge { requested, ..challenge(false, false) };
                let now = Moment::from_micros(1);
                assert_eq!(approve(&challenge, &actor, now).err(), refused, "{name} {requested}");
                assert_eq!(challenge.can_approve(&actor, now), refused.is_none(), "{name} {requested}");
                let is_board = matches!(actor, Actor::Board(_));
                assert_eq!(challenge.requires_sign_in(&actor), !is_board, "{name}");
            }
        }
    }
}
