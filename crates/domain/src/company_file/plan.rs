//! What has to be done so that a company is what a file says: what is made, changed and removed, field by field, in an
//! order in which each step finds what it refers to.
//!
//! Nothing is removed unless that is asked for, and nothing of a section that the file does not have. Whether a step may
//! be taken is the rules' of the thing itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use super::differences::{FieldChange, differences};
use super::schema::{Absent, ENVIRONMENT, Holds, fields};
use super::{Document, Entry, MARK, Mistake, Section, key_of};
use crate::instructions::{ENTRY, ENTRY_KEY, FILE_KEY, MODE_KEY, ROOT_KEY};
use crate::words;

words!(
    /// What is done to one thing.
    Action {
        Make = "make",
        Change = "change",
        Remove = "remove",
    }
);

/// What is asked for beside what the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// What the file does not have is removed.
    pub prune: bool,
    /// Agents that wait for their approval: they may be named, and not changed.
    pub waiting: Vec<String>,
}

/// One thing that is made, changed or removed.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub action: Action,
    pub section: Section,
    pub name: String,
    pub fields: Vec<FieldChange>,
    /// What it is; `None` for a new one.
    pub before: Option<Entry>,
    /// What it is to be, with all that stays; `None` for one that goes.
    pub after: Option<Entry>,
}

/// All that has to be done.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// In the order in which it is done.
    pub changes: Vec<Change>,
    /// What the company has and the file does not, and that stays: section and name.
    pub left: Vec<(Section, String)>,
}

/// Makes a plan, or names what is wrong with the file.
pub fn plan(current: &Document, wanted: &Document, wish: &Wish) -> Result<Plan, Vec<Mistake>> {
    let mut planner = Planner { current, wanted, wish, mistakes: Vec::new(), plan: Plan::default() };
    let mut changes = Vec::new();
    for entry in wanted.entries() {
        changes.extend(planner.compare(entry));
    }
    let mut orders = BTreeMap::new();
    for (section, field) in
        [(Section::Agents, "reportsTo"), (Section::Goals, "parent"), (Section::Automations, "after")]
    {
        orders.insert(section, planner.order(section, field));
    }
    changes.sort_by_key(|change: &Change| {
        let key = change.after.as_ref().map(|entry| entry.key.as_str()).unwrap_or_default();
        let at = orders.get(&change.section).and_then(|order| order.get(key));
        (change.section, at.copied().unwrap_or(0))
    });
    changes.extend(planner.removals());
    if !planner.mistakes.is_empty() {
        return Err(planner.mistakes);
    }
    Ok(Plan { changes, ..planner.plan })
}

struct Planner<'a> {
    current: &'a Document,
    wanted: &'a Document,
    wish: &'a Wish,
    mistakes: Vec<Mistake>,
    plan: Plan,
}

impl Planner<'_> {
    fn wrong(&mut self, path: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.mistakes.push(Mistake::new(path, message, hint));
    }

    /// The change of one entry of the file; `None` where there is nothing to change.
    fn compare(&mut self, entry: &Entry) -> Option<Change> {
        let (section, thing) = (entry.section, entry.section.thing());
        let there: Vec<&Entry> =
            self.current.of(section).iter().filter(|there| there.key == entry.key).collect();
        if there.len() > 1 {
            let message = format!("the company has several {}s called `{}`", thing, entry.name);
            self.wrong(&entry.place, message, "give them different names first, then apply again");
            return None;
        }
        if section == Section::Agents && there.is_empty() && self.waits(&entry.key) {
            let message = format!("the agent `{}` waits for its approval", entry.name);
            self.wrong(&entry.place, message, "decide it first: bugle approval list");
            return None;
        }
        let before = there.first().map(|there| self.canonical(there, false));
        let mut after = self.canonical(entry, true);
        after.id = before.as_ref().and_then(|before| before.id.clone());
        if let Some(before) = &before {
            keep(&mut after, before);
            if !self.wish.prune {
                self.keep_parts(&mut after, before);
            }
        }
        self.look_at_entry(before.as_ref(), &after);
        let changed = differences(section, before.as_ref(), &after);
        if before.is_some() && changed.is_empty() {
            return None;
        }
        Some(Change {
            action: if before.is_some() { Action::Change } else { Action::Make },
            section,
            name: after.name.clone(),
            fields: changed,
            before,
            after: Some(after),
        })
    }

    /// An entry whose references are written as the things they mean are called; those that mean nothing are mistakes of
    /// the file.
    fn canonical(&mut self, entry: &Entry, is_wanted: bool) -> Entry {
        let mut canonical = entry.clone();
        for field in fields(entry.section) {
            let path = format!("{}.{}", entry.place, field.name);
            let Some(value) = entry.fields.get(field.name) else { continue };
            let value = match (field.holds, value) {
                (Holds::One(of), Json::String(name)) => self.called(of, name, &path, is_wanted),
                (Holds::Many(of), Json::Array(names)) => {
                    let names = names.iter().filter_map(Json::as_str).enumerate();
                    let called =
                        names.map(|(at, name)| self.called(of, name, &format!("{path}[{at}]"), is_wanted));
                    Json::Array(called.collect())
                }
                (Holds::Policy, Json::Object(policy)) => {
                    let mut policy = policy.clone();
                    if let Some(Json::String(name)) = policy.get(ENVIRONMENT).filter(|name| **name != "") {
                        let path = format!("{path}.{ENVIRONMENT}");
                        let called = self.called(Section::Environments, name, &path, is_wanted);
                        policy.insert(ENVIRONMENT.to_owned(), called.clone());
                        if let Some(Json::Object(shown)) = canonical.shown.get_mut(field.name) {
                            shown.insert(ENVIRONMENT.to_owned(), called);
                        }
                    }
                    canonical.fields.insert(field.name.to_owned(), Json::Object(policy));
                    continue;
                }
                _ => continue,
            };
            canonical.fields.insert(field.name.to_owned(), value.clone());
            canonical.shown.insert(field.name.to_owned(), value);
        }
        canonical
    }

    /// What the thing that a name means is called when all is done.
    fn called(&mut self, section: Section, name: &str, path: &str, is_wanted: bool) -> Json {
        let key = key_of(section, name);
        let is_meant = |entry: &&Entry| key_of(section, &entry.name) == key;
        let in_file = self.wanted.of(section).iter().find(is_meant).filter(|_| is_wanted);
        let there: Vec<&Entry> = self.current.of(section).iter().filter(is_meant).collect();
        let stays = |entry: &&&Entry| self.stays(entry);
        let found = in_file.or_else(|| there.iter().find(|entry| !is_wanted || stays(entry)).copied());
        if is_wanted && in_file.is_none() && there.len() > 1 {
            let message = format!("the company has several {}s called `{name}`", section.thing());
            self.wrong(path, message, "give them different names first, then apply again");
        }
        let Some(found) = found else {
            let is_waiting = section == Section::Agents && self.waits(&key);
            if is_wanted && !is_waiting {
                let thing = section.thing();
                let hint = format!("name one that the file or the company has: bugle {thing} list");
                self.wrong(path, format!("there is no {thing} `{name}`"), hint);
            }
            return Json::from(name);
        };
        let named = self.wanted.find(section, &found.key).unwrap_or(found);
        Json::from(named.name.as_str())
    }

    /// An agent of this key waits for its approval.
    fn waits(&self, key: &str) -> bool {
        self.wish.waiting.iter().any(|name| key_of(Section::Agents, name) == key)
    }

    /// Whether a thing can be removed at all. What limits an agent that nobody has decided on stays: no file has the agent.
    fn may_go(&self, entry: &Entry) -> bool {
        let limits_waiting =
            || entry.text("agent").is_some_and(|agent| self.waits(&key_of(Section::Agents, &agent)));
        may_go(entry) && !(entry.section == Section::Budgets && limits_waiting())
    }

    /// What an agent is told first is one of its texts, unless it was not before.
    fn look_at_entry(&mut self, before: Option<&Entry>, after: &Entry) {
        let Some(told) = after.fields.get("instructions") else { return };
        if before.and_then(|before| before.fields.get("instructions")) == Some(told) {
            return;
        }
        let entry = told.get("entry").and_then(Json::as_str).unwrap_or(ENTRY);
        if told.get("files").is_none_or(|files| files.get(entry).is_none()) {
            let path = format!("{}.instructions.entry", after.place);
            let hint = "write that file, too, or name one that is there: entry = \"FILE\"";
            self.wrong(&path, format!("`{entry}`, which is told first, is none of its files"), hint);
        }
    }

    /// A thing of the company is there when all is done.
    fn stays(&self, entry: &Entry) -> bool {
        !self.goes(entry) || self.wanted.find(entry.section, &entry.key).is_some()
    }

    /// A thing of the company that the file does not have is removed.
    fn goes(&self, entry: &Entry) -> bool {
        let is_spoken_of = self.wanted.sections.contains_key(&entry.section);
        self.wish.prune && is_spoken_of && self.may_go(entry)
    }

    /// Keeps workspaces and files of instructions that the file does not have: they are things, too. Files in a folder that
    /// the file names take the place of those that are kept here.
    fn keep_parts(&mut self, after: &mut Entry, before: &Entry) {
        for (field, inner) in [("workspaces", None), ("instructions", Some("files"))] {
            let part = |fields: &Map<String, Json>| {
                let outer = fields.get(field)?;
                let found = inner.map_or(Some(outer), |inner| outer.get(inner));
                found.and_then(Json::as_object).cloned()
            };
            if inner.is_some() && names_place(after) {
                continue;
            }
            let (Some(there), Some(shown)) = (part(&before.fields), part(&before.shown)) else { continue };
            let wanted = part(&after.fields).unwrap_or_default();
            if inner.is_some() && !after.fields.contains_key(field) {
                // With the one that is told first.
                keep_field(after, before, field);
            }
            let has_primary = wanted.values().any(|workspace| workspace["primary"] == true);
            for (name, mut value) in there.into_iter().filter(|(name, _)| !wanted.contains_key(name)) {
                let mut shown = shown.get(&name).cloned().unwrap_or(Json::from(MARK));
                for value in [&mut value, &mut shown] {
                    if let Some(workspace) = value.as_object_mut().filter(|_| has_primary) {
                        workspace.shift_remove("primary");
                    }
                }
                for (fields, value) in [(&mut after.fields, value), (&mut after.shown, shown)] {
                    if let Some(table) = part_of(fields, field, inner) {
                        table.insert(name.clone(), value);
                    }
                }
                let part = if inner.is_some() { "the file" } else { "the workspace" };
                self.plan.left.push((after.section, format!("{}: {part} {name}", before.name)));
            }
        }
    }

    /// In which order the entries of a section are made: those that are named come before those that name them. Who
    /// names itself, directly or not, is a mistake.
    fn order(&mut self, section: Section, field: &str) -> BTreeMap<String, usize> {
        let mut named: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for entry in self.current.of(section).iter().chain(self.wanted.of(section)) {
            named.insert(&entry.key, names_in(entry, field));
        }
        let mut order: BTreeMap<String, usize> = BTreeMap::new();
        let mut circles: BTreeSet<&str> = BTreeSet::new();
        loop {
            let is_ready = |key: &&str| {
                let waits = |name: &String| named.contains_key(name.as_str()) && !order.contains_key(name);
                !order.contains_key(*key) && !named.get(*key).is_some_and(|names| names.iter().any(waits))
            };
            let ready: Vec<&str> = named.keys().copied().filter(is_ready).collect();
            let circle = |key: &&str| !order.contains_key(*key) && leads_back(&named, key);
            let ready = if ready.is_empty() {
                let stuck: Vec<&str> = named.keys().copied().filter(circle).collect();
                circles.extend(&stuck);
                stuck
            } else {
                ready
            };
            if ready.is_empty() {
                break;
            }
            let at = order.len();
            order.extend(ready.into_iter().map(|key| (key.to_owned(), at)));
        }
        // What led in a circle before is no mistake of a file that leaves it alone.
        let was: BTreeMap<&str, Vec<String>> = self
            .current
            .of(section)
            .iter()
            .filter(|_| !circles.is_empty())
            .map(|entry| (entry.key.as_str(), names_in(entry, field)))
            .collect();
        let is_left = |entry: &Entry| {
            was.get(entry.key.as_str()) == named.get(entry.key.as_str()) && leads_back(&was, &entry.key)
        };
        let is_wrong = |entry: &&Entry| circles.contains(entry.key.as_str()) && !is_left(entry);
        for entry in self.wanted.of(section).iter().filter(is_wrong) {
            let message = format!("leads back to `{}` itself", entry.name);
            let hint = "name another one, or leave it out";
            self.mistakes.push(Mistake::new(format!("{}.{field}", entry.place), message, hint));
        }
        order
    }

    /// What goes, the last that was made first; what stays though the file does not have it is noted.
    fn removals(&mut self) -> Vec<Change> {
        let mut going = Vec::new();
        for section in self.wanted.sections.keys().rev() {
            for entry in self.current.of(*section) {
                if self.wanted.find(*section, &entry.key).is_some() || !self.may_go(entry) {
                    continue;
                }
                if !self.goes(entry) {
                    self.plan.left.push((*section, entry.name.clone()));
                    continue;
                }
                going.push(Change {
                    action: Action::Remove,
                    section: *section,
                    name: entry.name.clone(),
                    fields: Vec::new(),
                    before: Some(entry.clone()),
                    after: None,
                });
            }
        }
        self.plan.left.sort();
        going
    }
}

/// The entries of its own section that a field names, by their keys.
fn names_in(entry: &Entry, field: &str) -> Vec<String> {
    let key = |name: &str| key_of(entry.section, name);
    match entry.fields.get(field) {
        Some(Json::String(name)) => vec![key(name)],
        Some(Json::Array(items)) => {
            let names = items.iter().filter_map(|item| item.get("automation")?.as_str());
            names.map(key).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether whoever follows the names comes back to where they began.
fn leads_back(named: &BTreeMap<&str, Vec<String>>, start: &str) -> bool {
    let (mut open, mut seen) = (vec![start], BTreeSet::new());
    while let Some(key) = open.pop() {
        for next in named.get(key).into_iter().flatten() {
            if next == start {
                return true;
            }
            if seen.insert(next.as_str()) {
                open.push(next);
            }
        }
    }
    false
}

/// The table that holds parts of an entry, made where it is missing.
fn part_of<'a>(
    fields: &'a mut Map<String, Json>,
    field: &str,
    inner: Option<&str>,
) -> Option<&'a mut Map<String, Json>> {
    let empty = || Json::Object(Map::new());
    let outer = fields.entry(field).or_insert_with(empty).as_object_mut()?;
    match inner {
        None => Some(outer),
        Some(inner) => outer.entry(inner).or_insert_with(empty).as_object_mut(),
    }
}

/// Whether a thing can be removed at all: a company keeps itself and its own machine, and a budget that limits nothing is
/// as good as none.
fn may_go(entry: &Entry) -> bool {
    match entry.section {
        Section::Company => false,
        Section::Environments => entry.key != "local",
        Section::Budgets => entry.flag("active") && entry.count("amount") > 0,
        Section::Labels
        | Section::Skills
        | Section::Agents
        | Section::Goals
        | Section::Projects
        | Section::Automations
        | Section::Webhooks => true,
    }
}

/// The file says where in the machine the instructions of an agent are.
fn names_place(entry: &Entry) -> bool {
    let config = entry.object("adapterConfig");
    [MODE_KEY, ROOT_KEY, ENTRY_KEY, FILE_KEY].into_iter().any(|key| config.contains_key(key))
}

/// Makes a field what it was.
fn keep_field(after: &mut Entry, before: &Entry, name: &str) {
    for (to, from) in [(&mut after.fields, &before.fields), (&mut after.shown, &before.shown)] {
        match from.get(name) {
            Some(value) => drop(to.insert(name.to_owned(), value.clone())),
            None => drop(to.shift_remove(name)),
        }
    }
}

/// Keeps what a file need not say, and what it says of new things alone.
fn keep(after: &mut Entry, before: &Entry) {
    for field in fields(after.section) {
        let is_unsaid = field.absent == Absent::Stays && !after.fields.contains_key(field.name);
        if is_unsaid || matches!(field.absent, Absent::Born(_)) {
            keep_field(after, before, field.name);
        }
    }
    if after.name.is_empty() {
        after.name.clone_from(&before.name);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::read;
    use super::*;

    /// A company that is what a file says; its things have ids.
    fn company(document: Json) -> Document {
        let mut there = read(&with_version(document)).unwrap();
        for entry in there.sections.values_mut().flatten() {
            entry.id = Some(format!("id of {}", entry.name));
        }
        there
    }

    fn with_version(mut document: Json) -> Json {
        document["version"] = json!(1);
        document
    }

    fn planned(there: Json, file: Json, prune: bool) -> Result<Plan, Vec<Mistake>> {
        let wish = Wish { prune, waiting: vec!["Waiting".to_owned()] };
        plan(&company(there), &read(&with_version(file)).unwrap(), &wish)
    }

    /// Each change in a line.
    fn told(plan: &Plan) -> Vec<String> {
        let one = |change: &Change| {
            let fields: Vec<String> = change
                .fields
                .iter()
                .map(|field| {
                    let side = |value: &Option<Json>| value.as_ref().map_or("-".to_owned(), Json::to_string);
                    format!(" {}: {} > {}", field.path, side(&field.before), side(&field.after))
                })
                .collect();
            format!("{} {} {}{}", change.action, change.section.thing(), change.name, fields.join(","))
        };
        plan.changes.iter().map(one).collect()
    }

    fn full() -> Json {
        json!({
            "company": {"name": "Acme", "description": "Things"},
            "labels": [{"name": "bug", "color": "#ff0000"}],
            "environments": [{"name": "Here", "driver": "local"}, {"name": "Box", "driver": "ssh"}],
            "agents": [
                {"name": "Ada", "adapterType": "process", "role": "ceo", "adapterConfig": {"command": "true", "env": {"A": "1"}}},
                {"name": "Bob", "adapterType": "process", "reportsTo": "Ada", "defaultEnvironment": "Box"},
            ],
            "goals": [{"title": "Grow", "level": "company"}, {"title": "Sell", "parent": "Grow", "owner": "Bob"}],
            "projects": [{"name": "Web", "lead": "Ada", "goals": ["Sell"], "executionWorkspacePolicy": {"environment": "Box"},
                          "workspaces": {"one": {"cwd": "/one", "primary": true}, "two": {"cwd": "/two"}}}],
            "budgets": [{"amount": 1000}, {"agent": "Bob", "amount": 100}],
            "automations": [
                {"name": "ship", "after": [{"automation": "check"}], "nodes": [{"id": "tag", "agent": "Bob"}]},
                {"name": "check", "nodes": [{"id": "look", "agent": "Ada"}, {"id": "ask", "gate": {"title": "Sure?"}}]},
            ],
        })
    }

    #[test]
    fn a_company_that_is_what_the_file_says_needs_nothing() {
        for prune in [false, true] {
            assert_eq!(planned(full(), full(), prune).unwrap(), Plan::default());
        }
    }

    #[test]
    fn one_thing_that_is_edited_is_one_change() {
        type Edit = fn(&mut Json);
        let edits: [(Edit, &[&str]); 15] = [
            (
                |it| it["automations"][1]["nodes"][0]["agent"] = json!("Bob"),
                &[r#"change automation check nodes[look].agent: "Ada" > "Bob""#],
            ),
            (
                |it| {
                    it["automations"][1]["nodes"]
                        .as_array_mut()
                        .unwrap()
                        .push(json!({"id": "end", "agent": "Ada"}))
                },
                &[r#"change automation check nodes[end].id: - > "end", nodes[end].agent: - > "Ada""#],
            ),
            (
                |it| it["automations"][1]["nodes"].as_array_mut().unwrap().reverse(),
                &[
                    r#"change automation check nodes: [{"id":"look","agent":"Ada"},{"id":"ask","gate":{"title":"Sure?"}}] > [{"id":"ask","gate":{"title":"Sure?"}},{"id":"look","agent":"Ada"}]"#,
                ],
            ),
            (
                |it| it["company"]["description"] = json!("All"),
                &[r#"change company Acme description: "Things" > "All""#],
            ),
            (
                |it| it["company"] = json!({"name": "Acme"}),
                &[r#"change company Acme description: "Things" > -"#],
            ),
            (|it| it["company"] = json!({"description": "Things"}), &[]),
            (
                |it| it["labels"][0]["color"] = json!("#00ff00"),
                &[r##"change label bug color: "#ff0000" > "#00ff00""##],
            ),
            (
                |it| it["agents"][0]["adapterConfig"]["env"] = json!({"B": "2"}),
                &[r#"change agent Ada adapterConfig.env.B: - > "2", adapterConfig.env.A: "1" > -"#],
            ),
            (
                |it| it["agents"][1]["canAssignTasks"] = json!(false),
                &["change agent Bob canAssignTasks: true > false"],
            ),
            (|it| it["agents"][1]["reportsTo"] = json!("ada"), &[]),
            (|it| it["agents"][0]["name"] = json!("ADA"), &[r#"change agent ADA name: "Ada" > "ADA""#]),
            (
                |it| it["environments"][0]["name"] = json!("This machine"),
                &[r#"change environment This machine name: "Here" > "This machine""#],
            ),
            (
                |it| it["projects"][0]["workspaces"]["two"]["cwd"] = json!("/2"),
                &[r#"change project Web workspaces.two.cwd: "/two" > "/2""#],
            ),
            (
                |it| it["projects"][0]["executionWorkspacePolicy"] = json!({"environment": "Here"}),
                &[r#"change project Web executionWorkspacePolicy.environment: "Box" > "Here""#],
            ),
            (
                |it| it["budgets"][1]["amount"] = json!(200),
                &["change budget agent Bob, billed_cents, calendar_month_utc amount: 100 > 200"],
            ),
        ];
        for (edit, expected) in edits {
            let mut file = full();
            edit(&mut file);
            assert_eq!(told(&planned(full(), file.clone(), false).unwrap()), expected, "{file}");
        }
    }

    #[test]
    fn what_others_refer_to_is_made_first_and_removed_last() {
        let mut file = full();
        file["agents"].as_array_mut().unwrap().reverse();
        file["goals"].as_array_mut().unwrap().reverse();
        let order = |plan: &Plan| {
            plan.changes.iter().map(|change| format!("{} {}", change.action, change.name)).collect::<Vec<_>>()
        };
        let made =
            planned(json!({"company": {"name": "Acme", "description": "Things"}}), file, false).unwrap();
        let expected = [
            "make bug",
            "make Here",
            "make Box",
            "make Ada",
            "make Bob",
            "make Grow",
            "make Sell",
            "make Web",
            "make company, billed_cents, calendar_month_utc",
            "make agent Bob, billed_cents, calendar_month_utc",
            "make check",
            "make ship",
        ];
        assert_eq!(order(&made), expected);
        assert_eq!(told(&made)[0], r##"make label bug name: - > "bug", color: - > "#ff0000""##);
        let empty = json!({"labels": [], "environments": [], "agents": [], "goals": [], "projects": [], "budgets": [], "automations": []});
        let removed = planned(full(), empty, true).unwrap();
        let expected = [
            "remove ship",
            "remove check",
            "remove company, billed_cents, calendar_month_utc",
            "remove agent Bob, billed_cents, calendar_month_utc",
            "remove Web",
            "remove Grow",
            "remove Sell",
            "remove Ada",
            "remove Bob",
            "remove Box",
            "remove bug",
        ];
        assert_eq!(order(&removed), expected);
    }

    #[test]
    fn nothing_is_removed_unless_that_is_asked_for_nor_of_what_the_file_does_not_speak_of() {
        let mut file = json!({"agents": [full()["agents"][0]], "projects": [full()["projects"][0]]});
        file["projects"][0]["workspaces"] = json!({"two": {"cwd": "/two"}});
        file["projects"][0].as_object_mut().unwrap().remove("goals");
        let kept = planned(full(), file.clone(), false).unwrap();
        let expected = [
            r#"change project Web goals: ["Sell"] > -, workspaces.two.primary: - > true, workspaces.one.primary: true > -"#,
        ];
        assert_eq!(told(&kept), expected);
        let left =
            [(Section::Agents, "Bob".to_owned()), (Section::Projects, "Web: the workspace one".to_owned())];
        assert_eq!(kept.left, left);
        let pruned = planned(full(), file, true).unwrap();
        let expected = [
            r#"change project Web goals: ["Sell"] > -, workspaces.two.primary: - > true, workspaces.one.primary: true > -, workspaces.one.cwd: "/one" > -"#,
            "remove agent Bob",
        ];
        assert_eq!((told(&pruned), pruned.left.len()), (expected.map(str::to_owned).to_vec(), 0));
    }

    #[test]
    fn texts_in_a_folder_that_the_file_names_take_the_place_of_those_that_are_kept() {
        let there = json!({"agents": [{"name": "Ada", "adapterType": "process", "adapterConfig": {"model": "x"},
            "instructions": {"entry": "a.md", "files": {"a.md": "Lead.", "b.md": "Kind."}}}]});
        let quiet =
            json!({"agents": [{"name": "Ada", "adapterType": "process", "adapterConfig": {"model": "x"}}]});
        let kept = planned(there.clone(), quiet.clone(), false).unwrap();
        assert_eq!(told(&kept), Vec::<String>::new(), "what is told first stays what it is");
        assert_eq!(kept.left.len(), 2);
        let mut outside = quiet;
        outside["agents"][0]["adapterConfig"]["instructionsFilePath"] = json!("/srv/a.md");
        for prune in [false, true] {
            let moved = planned(there.clone(), outside.clone(), prune).unwrap();
            let after = moved.changes[0].after.as_ref().unwrap();
            assert!(!after.fields.contains_key("instructions"), "{after:?}");
            assert_eq!(moved.left, []);
        }
    }

    #[test]
    fn what_is_told_first_is_one_of_the_texts() {
        let agent = |instructions: Json| json!({"agents": [{"name": "Ada", "adapterType": "process", "instructions": instructions}]});
        let there = agent(json!({"entry": "gone.md"}));
        let texts = agent(json!({"entry": "a.md", "files": {"a.md": "x"}}));
        for (there, file, is_right) in [
            (json!({}), json!({"files": {"AGENTS.md": "x"}}), true),
            (json!({}), json!({"entry": "a.md", "files": {"a.md": "x"}}), true),
            (json!({}), json!({"entry": "b.md", "files": {"a.md": "x"}}), false),
            (json!({}), json!({"files": {"a.md": "x"}}), false),
            (json!({}), json!({"entry": "a.md"}), false),
            // The company has it.
            (texts.clone(), json!({"entry": "a.md", "files": {"b.md": "y"}}), true),
            (texts, json!({"files": {"b.md": "y"}}), false),
            // It was so before.
            (there, json!({"entry": "gone.md"}), true),
        ] {
            let found = planned(there, agent(file.clone()), false).err().unwrap_or_default();
            let paths: Vec<&str> = found.iter().map(|mistake| mistake.path.as_str()).collect();
            assert_eq!(paths, if is_right { &[][..] } else { &["agents[0].instructions.entry"] }, "{file}");
        }
    }

    #[test]
    fn the_budget_of_an_agent_that_waits_stays() {
        let there = json!({"budgets": [{"agent": "Waiting", "amount": 5}, {"amount": 7}]});
        let planned = planned(there, json!({"budgets": []}), true).unwrap();
        assert_eq!(told(&planned), ["remove budget company, billed_cents, calendar_month_utc"]);
        assert_eq!(planned.left, []);
    }

    #[test]
    fn a_circle_that_the_company_has_is_no_mistake_of_a_file_that_leaves_it() {
        let there = json!({"goals": [
            {"title": "A", "parent": "B"}, {"title": "B", "parent": "A"}, {"title": "C"},
        ]});
        assert_eq!(planned(there.clone(), there.clone(), true).unwrap(), Plan::default());
        let mut more = there.clone();
        more["goals"]
            .as_array_mut()
            .unwrap()
            .extend([json!({"title": "Z", "parent": "Y"}), json!({"title": "Y", "parent": "A"})]);
        more["goals"][0]["description"] = json!("x");
        let made = planned(there.clone(), more, false).unwrap();
        let names: Vec<&str> = made.changes.iter().map(|change| change.name.as_str()).collect();
        assert_eq!(names, ["A", "Y", "Z"]);
        let mut wider = there;
        wider["goals"][1]["parent"] = json!("C");
        wider["goals"][2]["parent"] = json!("A");
        let found = planned(json!({"goals": wider["goals"]}), wider.clone(), false);
        assert!(found.is_ok(), "{found:?}");
        let two = json!({"goals": [{"title": "A", "parent": "B"}, {"title": "B"}]});
        let found = planned(
            two,
            json!({"goals": [{"title": "A", "parent": "B"}, {"title": "B", "parent": "A"}]}),
            false,
        );
        let paths: Vec<String> = found.unwrap_err().into_iter().map(|mistake| mistake.path).collect();
        assert_eq!(paths, ["goals[0].parent", "goals[1].parent"]);
    }

    #[test]
    fn whether_an_automation_is_paused_is_said_of_a_new_one_alone() {
        let file = |status: Json| json!({"automations": [{"name": "ship", "status": status, "nodes": [{"id": "a"}]}]});
        for (there, wanted, expected) in [
            (json!({"automations": []}), json!("paused"), Some(json!("paused"))),
            (json!({"automations": []}), json!("draft"), Some(json!("draft"))),
            (json!({"automations": []}), json!("active"), None),
        ] {
            let made = planned(there, file(wanted), false).unwrap();
            assert_eq!(made.changes[0].after.as_ref().unwrap().fields.get("status"), expected.as_ref());
        }
        for (there, wanted) in [
            ("paused", json!(null)),
            ("active", json!("paused")),
            ("draft", json!("paused")),
            ("paused", json!("active")),
        ] {
            assert_eq!(planned(file(json!(there)), file(wanted), true).unwrap(), Plan::default(), "{there}");
        }
        let wrong = read(&with_version(file(json!("off")))).unwrap_err();
        assert_eq!(wrong[0].path, "automations[0].status");
    }

    #[test]
    fn a_budget_that_limits_nothing_need_not_be_removed() {
        let there = json!({"budgets": [{"amount": 0}, {"amount": 5, "metric": "tokens", "active": false}]});
        assert_eq!(planned(there, json!({"budgets": []}), true).unwrap(), Plan::default());
    }

    #[test]
    fn what_a_name_means_must_be_there_when_all_is_done() {
        let one = |agent: Json| json!({"agents": [agent]});
        let cases = [
            (
                json!({"name": "Cy", "adapterType": "process", "reportsTo": "Nobody"}),
                Some(("agents[0].reportsTo", "there is no agent `Nobody`")),
            ),
            (
                json!({"name": "Cy", "adapterType": "process", "reportsTo": "Bob"}),
                Some(("agents[0].reportsTo", "there is no agent `Bob`")),
            ),
            (json!({"name": "Cy", "adapterType": "process", "reportsTo": "Waiting"}), None),
            (json!({"name": "Cy", "adapterType": "process", "defaultEnvironment": "Box"}), None),
            (
                json!({"name": "waiting", "adapterType": "process"}),
                Some(("agents[0]", "the agent `waiting` waits for its approval")),
            ),
            (
                json!({"name": "Cy", "adapterType": "process", "reportsTo": "Cy"}),
                Some(("agents[0].reportsTo", "leads back to `Cy` itself")),
            ),
        ];
        for (agent, expected) in cases {
            // Those whom the file does not have go.
            let found = planned(full(), one(agent.clone()), true).err().unwrap_or_default();
            let first = found.first().map(|mistake| (mistake.path.as_str(), mistake.message.as_str()));
            assert_eq!(first, expected, "{agent}");
        }
    }

    #[test]
    fn nobody_is_above_themselves_when_all_is_done() {
        // Bob, who is not in the file, reports to Ada.
        let file = json!({"agents": [{"name": "Ada", "adapterType": "process", "reportsTo": "Bob"}]});
        let found = planned(full(), file, false).unwrap_err();
        assert_eq!(found[0].path, "agents[0].reportsTo");
        // Turned around as a whole it is no circle, and who is above is put there first.
        let file = json!({"agents": [
            {"name": "Ada", "adapterType": "process", "reportsTo": "Bob"}, {"name": "Bob", "adapterType": "process"},
        ]});
        let turned = planned(full(), file, false).unwrap();
        assert_eq!(
            turned.changes.iter().map(|change| change.name.as_str()).collect::<Vec<_>>(),
            ["Bob", "Ada"]
        );
    }

    #[test]
    fn automations_that_would_start_each_other_for_ever_are_refused() {
        let mut file = full();
        file["automations"][1]["after"] = json!([{"automation": "ship"}]);
        let found = planned(full(), file, false).unwrap_err();
        let paths: Vec<&str> = found.iter().map(|mistake| mistake.path.as_str()).collect();
        assert_eq!(paths, ["automations[0].after", "automations[1].after"]);
    }

    #[test]
    fn names_that_mean_several_things_are_refused() {
        let mut there = company(json!({"goals": [{"title": "Grow"}]}));
        let twin = there.of(Section::Goals)[0].clone();
        there.sections.get_mut(&Section::Goals).unwrap().push(twin);
        for (file, path) in [
            (json!({"version": 1, "goals": [{"title": "Grow"}]}), "goals[0]"),
            (json!({"version": 1, "projects": [{"name": "Web", "goals": ["Grow"]}]}), "projects[0].goals[0]"),
        ] {
            let found = plan(&there, &read(&file).unwrap(), &Wish::default()).unwrap_err();
            assert_eq!(
                (found[0].path.as_str(), found[0].message.as_str()),
                (path, "the company has several goals called `Grow`")
            );
        }
    }

    #[test]
    fn what_nobody_is_to_read_is_a_mark_on_both_sides() {
        let agent = |value: &str| {
            let fields = json!({"name": "Ada", "adapterType": "process", "adapterConfig": {"env": {"KEY": value, "A": "1"}}});
            let shown = json!({"name": "Ada", "adapterType": "process", "adapterConfig": {"env": {"KEY": MARK, "A": "1"}}});
            let object = |value: Json| value.as_object().cloned().unwrap();
            let entry = Entry::new(Section::Agents, None, object(fields)).showing(object(shown));
            Document { sections: BTreeMap::from([(Section::Agents, vec![entry])]) }
        };
        let planned = |new: &str| plan(&agent("old"), &agent(new), &Wish::default()).unwrap();
        assert_eq!(planned("old"), Plan::default());
        let expected = format!(r#"change agent Ada adapterConfig.env.KEY: "{MARK}" > "{MARK}""#);
        assert_eq!(told(&planned("new")), [expected]);
        assert!(!format!("{:?}", planned("new").changes[0].fields).contains("old"));
    }
}
