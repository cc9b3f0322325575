//! Which environment a run works in (spec/heartbeat.md 4.8).
//!
//! Four places may say so, the nearest one to the work wins: the workspace that the issue is tied to, the issue, its
//! project, the agent. Where nobody says anything, and where somebody says `null`, it is the default of the company.

use serde_json::Value as Json;

/// What one place says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Wish {
    /// Nothing.
    #[default]
    Silent,
    /// The company's default, whatever places further away say.
    CompanyDefault,
    /// This one.
    Named(String),
}

impl Wish {
    /// What the key `environmentId` of some settings says; null and blank texts mean the company's default.
    pub fn of(settings: Option<&Json>) -> Wish {
        match settings.and_then(|settings| settings.get("environmentId")) {
            None => Wish::Silent,
            Some(Json::String(id)) if !id.trim().is_empty() => Wish::Named(id.trim().to_owned()),
            Some(_) => Wish::CompanyDefault,
        }
    }

    /// A stored workspace configuration counts as a whole: one that names no environment means the company's default,
    /// and one that holds nothing at all says nothing.
    pub fn of_workspace(config: Option<&Json>) -> Wish {
        let holds_something = config
            .and_then(Json::as_object)
            .is_some_and(|config| config.values().any(|value| !value.is_null()));
        match Wish::of(config) {
            Wish::Silent if holds_something => Wish::CompanyDefault,
            wish if holds_something => wish,
            _ => Wish::Silent,
        }
    }

    /// What an id in a column of its own says.
    pub fn of_column(id: Option<&str>) -> Wish {
        match id.map(str::trim).filter(|id| !id.is_empty()) {
            Some(id) => Wish::Named(id.to_owned()),
            None => Wish::Silent,
        }
    }
}

/// Everybody who may have a say, nearest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    pub workspace: Wish,
    pub issue: Wish,
    pub project: Wish,
    pub agent: Wish,
}

/// Who decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chooser {
    Workspace,
    Issue,
    Project,
    Agent,
}

impl Chooser {
    /// For people.
    pub const fn words(self) -> &'static str {
        match self {
            Chooser::Workspace => "the workspace of the issue",
            Chooser::Issue => "the issue",
            Chooser::Project => "the project",
            Chooser::Agent => "the agent",
        }
    }
}

/// The choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    CompanyDefault,
    Named { id: String, by: Chooser },
}

/// Chooses.
pub fn choose(wishes: &Wishes) -> Chosen {
    let in_order = [
        (&wishes.workspace, Chooser::Workspace),
        (&wishes.issue, Chooser::Issue),
        (&wishes.project, Chooser::Project),
        (&wishes.agent, Chooser::Agent),
    ];
    for (wish, by) in in_order {
        match wish {
            Wish::Silent => {}
            Wish::CompanyDefault => return Chosen::CompanyDefault,
            Wish::Named(id) => return Chosen::Named { id: id.clone(), by },
        }
    }
    Chosen::CompanyDefault
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(id: &str) -> Wish {
        Wish::Named(id.to_owned())
    }

    #[test]
    fn the_nearest_wish_wins_and_null_is_the_default_of_the_company() {
        use Wish::{CompanyDefault as Default, Silent};
        let by = |id: &str, by| Chosen::Named { id: id.to_owned(), by };
        let rows = [
            ([Silent, Silent, Silent, Silent], Chosen::CompanyDefault),
            ([Silent, Silent, Silent, named("a")], by("a", Chooser::Agent)),
            ([Silent, Silent, named("p"), named("a")], by("p", Chooser::Project)),
            ([Silent, named("i"), named("p"), named("a")], by("i", Chooser::Issue)),
            ([named("w"), named("i"), named("p"), named("a")], by("w", Chooser::Workspace)),
            ([Default, named("i"), named("p"), named("a")], Chosen::CompanyDefault),
            ([Silent, Default, named("p"), named("a")], Chosen::CompanyDefault),
            ([Silent, Silent, Default, named("a")], Chosen::CompanyDefault),
        ];
        for ([workspace, issue, project, agent], expected) in rows {
            let wishes = Wishes { workspace, issue, project, agent };
            assert_eq!(choose(&wishes), expected, "{wishes:?}");
        }
    }

    #[test]
    fn settings_say_nothing_null_or_an_id() {
        assert_eq!(Wish::of(None), Wish::Silent);
        assert_eq!(Wish::of(Some(&json!({}))), Wish::Silent);
        assert_eq!(Wish::of(Some(&json!({ "environmentId": null }))), Wish::CompanyDefault);
        assert_eq!(Wish::of(Some(&json!({ "environmentId": " " }))), Wish::CompanyDefault);
        assert_eq!(Wish::of(Some(&json!({ "environmentId": " e " }))), named("e"));
        assert_eq!(Wish::of_column(Some(" ")), Wish::Silent);
        assert_eq!(Wish::of_column(Some("e")), named("e"));
    }

    #[test]
    fn a_stored_workspace_configuration_without_an_environment_hides_the_rest() {
        assert_eq!(Wish::of_workspace(None), Wish::Silent);
        assert_eq!(Wish::of_workspace(Some(&json!({}))), Wish::Silent);
        assert_eq!(
            Wish::of_workspace(Some(&json!({ "environmentId": null, "provisionCommand": null }))),
            Wish::Silent
        );
        assert_eq!(Wish::of_workspace(Some(&json!({ "provisionCommand": "make" }))), Wish::CompanyDefault);
        assert_eq!(Wish::of_workspace(Some(&json!({ "environmentId": "e" }))), named("e"));
    }
}
