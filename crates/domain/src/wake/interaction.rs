//! Comments get through where other wakes wait.
//!
//! A person who writes to an agent expects an answer although the task is blocked or held. An *interaction* is a wake
//! that claims to come of a comment and passes the dependency gate; a *verified* one is proven by the stored comment and
//! its author and passes a pause hold as well (spec/heartbeat.md 2.5).

use serde_json::{Map, Value};

use super::context::text;
use super::{Actor, ActorKind};
use crate::ids::{AgentId, CommentId, IssueId};
use crate::moment::Moment;

/// Reasons of interactions with the `source` that belongs to each.
const INTERACTIONS: [(&str, &str); 3] = [
    ("issue_commented", "issue.comment"),
    ("issue_reopened_via_comment", "issue.comment.reopen"),
    ("issue_comment_mentioned", "comment.mention"),
];

/// The reason of the wake that tells a dependant's owner that a blocker will never be done; it passes the dependency
/// gate, or nobody would ever hear of it (D7).
pub const BLOCKER_CANCELLED: &str = "issue_blocker_cancelled";

/// A stored comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommentFacts {
    pub id: CommentId,
    pub issue: IssueId,
    pub author_agent: Option<AgentId>,
    pub author_user: Option<String>,
    pub written_at: Moment,
}

/// A stored wake of the run, asked when the run's own actor proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAsk {
    pub actor: Actor,
    /// `issueId` and `commentId` of its payload.
    pub issue: Option<String>,
    pub comment: Option<String>,
}

/// What lets a run pass where others wait or end; read once, asked by intake, claim and checkout alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passes {
    /// It names a comment.
    pub comment: bool,
    /// It claims to come of a comment: dependencies and another assignee do not stop it.
    pub interaction: bool,
    /// The comment and its author prove it: a pause hold does not stop it.
    pub verified: bool,
    /// It says that a blocker was cancelled: dependencies do not stop it.
    pub blocker_cancelled: bool,
    /// Somebody asked to go on with a closed task.
    pub resume_intent: bool,
}

impl Passes {
    /// Reads the context; `verified` is the answer of [`is_verified`].
    pub fn read(context: &Map<String, Value>, verified: bool) -> Passes {
        let is_set = |key| context.get(key) == Some(&Value::Bool(true));
        Passes {
            comment: last_comment(context).is_some(),
            interaction: is_interaction(context),
            verified,
            blocker_cancelled: reason(context) == Some(BLOCKER_CANCELLED),
            resume_intent: is_set("resumeIntent") || is_set("followUpRequested"),
        }
    }

    /// Open blockers do not stop it.
    pub const fn dependencies(self) -> bool {
        self.interaction || self.blocker_cancelled
    }
}

/// Why the run was woken, as the context says.
pub fn reason(context: &Map<String, Value>) -> Option<&str> {
    text(context, "wakeReason").or_else(|| text(context, "reason"))
}

/// The newest comment the context names, trimmed.
pub fn last_comment(context: &Map<String, Value>) -> Option<&str> {
    let listed = context.get("wakeCommentIds").and_then(Value::as_array);
    listed
        .and_then(|ids| ids.iter().filter_map(Value::as_str).rfind(|id| !id.trim().is_empty()))
        .or_else(|| text(context, "wakeCommentId"))
        .or_else(|| text(context, "commentId"))
        .map(str::trim)
}

/// The weaker test: a reason of the set and a comment id.
pub fn is_interaction(context: &Map<String, Value>) -> bool {
    is_reason(reason(context)) && last_comment(context).is_some()
}

fn is_reason(reason: Option<&str>) -> bool {
    INTERACTIONS.iter().any(|(known, _)| reason == Some(known))
}

/// The full test. `comment` is the row that [`last_comment`] names, if there is one; `direct` is who asks now; `asks` are
/// stored wakes of the same company and agent with this run or wake id (none at intake).
///
/// `held_since`: for what was asked for earlier, the moment of the newest hold. A comment from before it waits with the
/// rest (D1); who writes to a held issue knows what he does.
pub fn is_verified(
    context: &Map<String, Value>,
    issue: &IssueId,
    comment: Option<&CommentFacts>,
    held_since: Option<Moment>,
    direct: Option<&Actor>,
    asks: &[StoredAsk],
) -> bool {
    let reason = reason(context);
    let source = context.get("source").and_then(Value::as_str);
    if !INTERACTIONS.iter().any(|(known, belongs)| reason == Some(known) && source == Some(belongs)) {
        return false;
    }
    let (Some(named), Some(comment)) = (last_comment(context), comment) else { return false };
    if named != comment.id.as_str() || comment.issue != *issue {
        return false;
    }
    if held_since.is_some_and(|since| comment.written_at < since) {
        return false;
    }
    direct.is_some_and(|actor| wrote(actor, comment))
        || asks.iter().any(|ask| {
            ask.issue.as_deref() == Some(issue.as_str())
                && ask.comment.as_deref() == Some(comment.id.as_str())
                && wrote(&ask.actor, comment)
        })
}

/// The program itself speaks for whoever wrote; others only for themselves.
fn wrote(actor: &Actor, comment: &CommentFacts) -> bool {
    let author = match actor.kind {
        ActorKind::System => return true,
        ActorKind::Agent => comment.author_agent.as_ref().map(AgentId::as_str),
        ActorKind::User => comment.author_user.as_deref(),
    };
    author.is_some() && actor.id.as_deref() == author
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    fn actor(kind: ActorKind, id: &str) -> Actor {
        Actor { kind, id: Some(id.to_owned()) }
    }

    #[test]
    fn an_interaction_needs_a_reason_of_the_set_and_a_comment() {
        for (context, expected) in [
            (json!({"wakeReason": "issue_commented", "commentId": "c"}), true),
            (json!({"wakeReason": "issue_reopened_via_comment", "wakeCommentId": "c"}), true),
            (json!({"reason": "issue_comment_mentioned", "wakeCommentIds": ["c"]}), true),
            (json!({"wakeReason": "issue_commented"}), false),
            (json!({"wakeReason": "issue_commented", "commentId": " "}), false),
            (json!({"wakeReason": "issue_assigned", "commentId": "c"}), false),
            (json!({"wakeReason": "issue_assigned", "reason": "issue_commented", "commentId": "c"}), false),
            (json!({"commentId": "c"}), false),
        ] {
            assert_eq!(is_interaction(&object(context.clone())), expected, "{context}");
        }
    }

    #[test]
    fn the_newest_comment_is_the_last_of_the_list() {
        for (context, expected) in [
            (json!({"wakeCommentIds": ["a", "b"], "wakeCommentId": "x", "commentId": "y"}), Some("b")),
            (json!({"wakeCommentIds": ["a", ""], "wakeCommentId": "x"}), Some("a")),
            (json!({"wakeCommentIds": [], "wakeCommentId": " x ", "commentId": "y"}), Some("x")),
            (json!({"commentId": "y"}), Some("y")),
            (json!({}), None),
        ] {
            assert_eq!(last_comment(&object(context.clone())), expected, "{context}");
        }
    }

    #[test]
    fn an_interaction_is_verified_by_its_source_its_comment_and_its_author() {
        use ActorKind::{Agent, System, User};
        let good = json!({"wakeReason": "issue_commented", "source": "issue.comment", "commentId": "c"});
        let by_user = CommentFacts {
            id: "c".into(),
            issue: "i".into(),
            author_agent: None,
            author_user: Some("u".to_owned()),
            written_at: Moment::from_micros(100),
        };
        let by_agent = CommentFacts { author_agent: Some("a".into()), author_user: None, ..by_user.clone() };
        let elsewhere = CommentFacts { issue: "j".into(), ..by_user.clone() };
        let another = CommentFacts { id: "d".into(), ..by_user.clone() };
        let ask = |actor: Actor, issue: &str, comment: &str| StoredAsk {
            actor,
            issue: Some(issue.to_owned()),
            comment: Some(comment.to_owned()),
        };
        let nobody = Actor { kind: User, id: None };
        let anonymous = CommentFacts { author_user: None, ..by_user.clone() };
        type Row<'a> = (&'a str, Value, Option<&'a CommentFacts>, Option<Actor>, Vec<StoredAsk>, bool);
        let rows: Vec<Row<'_>> = vec![
            ("its author", good.clone(), Some(&by_user), Some(actor(User, "u")), vec![], true),
            ("an agent that wrote", good.clone(), Some(&by_agent), Some(actor(Agent, "a")), vec![], true),
            ("the program", good.clone(), Some(&by_user), Some(actor(System, "x")), vec![], true),
            ("another user", good.clone(), Some(&by_user), Some(actor(User, "v")), vec![], false),
            ("another agent", good.clone(), Some(&by_agent), Some(actor(Agent, "b")), vec![], false),
            (
                "an agent with a user's id",
                good.clone(),
                Some(&by_user),
                Some(actor(Agent, "u")),
                vec![],
                false,
            ),
            ("nobody wrote, nobody asks", good.clone(), Some(&anonymous), Some(nobody), vec![], false),
            ("nobody asks", good.clone(), Some(&by_user), None, vec![], false),
            ("no such comment", good.clone(), None, Some(actor(User, "u")), vec![], false),
            (
                "comment of another issue",
                good.clone(),
                Some(&elsewhere),
                Some(actor(User, "u")),
                vec![],
                false,
            ),
            ("not the comment named", good.clone(), Some(&another), Some(actor(User, "u")), vec![], false),
            (
                "source of another reason",
                json!({"wakeReason": "issue_commented", "source": "comment.mention", "commentId": "c"}),
                Some(&by_user),
                Some(actor(User, "u")),
                vec![],
                false,
            ),
            (
                "no source",
                json!({"wakeReason": "issue_commented", "commentId": "c"}),
                Some(&by_user),
                Some(actor(User, "u")),
                vec![],
                false,
            ),
            (
                "no comment id",
                json!({"wakeReason": "issue_commented", "source": "issue.comment"}),
                Some(&by_user),
                Some(actor(User, "u")),
                vec![],
                false,
            ),
            (
                "reopened",
                json!({"wakeReason": "issue_reopened_via_comment", "source": "issue.comment.reopen", "commentId": "c"}),
                Some(&by_user),
                Some(actor(User, "u")),
                vec![],
                true,
            ),
            (
                "mentioned, by its bare reason",
                json!({"reason": "issue_comment_mentioned", "source": "comment.mention", "commentId": "c"}),
                Some(&by_user),
                Some(actor(User, "u")),
                vec![],
                true,
            ),
            (
                "a stored wake of the author",
                good.clone(),
                Some(&by_user),
                Some(actor(User, "v")),
                vec![ask(actor(User, "v"), "i", "c"), ask(actor(User, "u"), "i", "c")],
                true,
            ),
            (
                "a stored wake for another issue",
                good.clone(),
                Some(&by_user),
                None,
                vec![ask(actor(User, "u"), "j", "c")],
                false,
            ),
            (
                "a stored wake for another comment",
                good,
                Some(&by_user),
                None,
                vec![ask(actor(User, "u"), "i", "d")],
                false,
            ),
        ];
        for (name, context, comment, direct, asks, expected) in rows {
            let found = is_verified(&object(context), &"i".into(), comment, None, direct.as_ref(), &asks);
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn only_what_was_written_since_the_hold_passes_it() {
        let context = json!({"wakeReason": "issue_commented", "source": "issue.comment", "commentId": "c"});
        let comment = CommentFacts {
            id: "c".into(),
            issue: "i".into(),
            author_agent: None,
            author_user: Some("u".to_owned()),
            written_at: Moment::from_micros(100),
        };
        let asks = actor(ActorKind::User, "u");
        for (held_since, expected) in [(None, true), (Some(99), true), (Some(100), true), (Some(101), false)]
        {
            let since = held_since.map(Moment::from_micros);
            let passes =
                is_verified(&object(context.clone()), &"i".into(), Some(&comment), since, Some(&asks), &[]);
            assert_eq!(passes, expected, "{held_since:?}");
        }
    }

    #[test]
    fn what_passes_is_read_from_the_context() {
        let none = Passes::default();
        for (context, verified, expected) in [
            (json!({}), false, none),
            (json!({"commentId": "c"}), false, Passes { comment: true, ..none }),
            (
                json!({"wakeReason": "issue_commented", "commentId": "c"}),
                true,
                Passes { comment: true, interaction: true, verified: true, ..none },
            ),
            (
                json!({"wakeReason": "issue_blocker_cancelled"}),
                false,
                Passes { blocker_cancelled: true, ..none },
            ),
            (json!({"resumeIntent": true}), false, Passes { resume_intent: true, ..none }),
            (json!({"followUpRequested": true}), false, Passes { resume_intent: true, ..none }),
            (json!({"followUpRequested": "true", "resumeIntent": 1}), false, none),
        ] {
            assert_eq!(Passes::read(&object(context.clone()), verified), expected, "{context}");
        }
        assert!(!none.dependencies() && !Passes { comment: true, ..none }.dependencies());
        assert!(Passes { interaction: true, ..none }.dependencies());
        assert!(Passes { blocker_cancelled: true, ..none }.dependencies());
    }
}
