//! Skills: short instructions for one kind of work, which an agent reads when it comes to that work.
//!
//! A skill is a `SKILL.md` with a name and a description at its top. Which skills a run gets is decided here: those that
//! everybody gets, those its agent is configured with, and those that its issue mentions (`skill://...`). Keeping them is
//! the store's, laying them out for a program the engine's.

use serde_json::Value;

/// Where mentions of skills begin.
const SCHEME: &str = "skill://";
/// As many mentions count; the rest of a text that holds nothing else is not read.
pub const MOST_MENTIONS: usize = 20;
/// The longest description, in characters: all of them are told at every start.
pub const LONGEST_DESCRIPTION: usize = 1_024;
/// The longest name of a folder.
pub const LONGEST_SLUG: usize = 64;

/// A skill that a run may get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// `owner/collection/name`, or shorter; unique for a company.
    pub key: String,
    /// The name of its folder.
    pub name: String,
    /// Its id, by which texts mention it; the program's own have none.
    pub id: Option<String>,
    /// Every run gets it.
    pub is_required: bool,
}

/// The top of a `SKILL.md`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Front {
    pub name: Option<String>,
    pub description: Option<String>,
}

/// Reads the lines between the two `---` at the top of a skill; plain `key: value` pairs are all that is looked at.
pub fn front(markdown: &str) -> Front {
    let mut lines = markdown.trim_start_matches('\u{FEFF}').lines();
    let mut front = Front::default();
    if lines.next().map(str::trim) != Some("---") {
        return front;
    }
    for line in lines.take_while(|line| line.trim() != "---").take(100) {
        let Some((key, value)) = line.split_once(':').filter(|(key, _)| !key.starts_with([' ', '\t', '#']))
        else {
            continue;
        };
        let value = value.trim().trim_matches(['"', '\'']).trim();
        let value = Some(value.to_owned()).filter(|value| !value.is_empty());
        match key.trim() {
            "name" => front.name = value,
            "description" => front.description = value,
            _ => {}
        }
    }
    front
}

/// The name of a skill's folder; `None` when nothing of the name can be one.
pub fn slug(name: &str) -> Option<String> {
    let slug: String = crate::agent::url_key(name).chars().take(LONGEST_SLUG).collect();
    let slug = slug.trim_matches('-');
    (!slug.is_empty()).then(|| slug.to_owned())
}

/// What texts mention as `skill://...`, each once, in the order of the texts.
pub fn mentions<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || "-_./".contains(character);
    let mut found: Vec<String> = Vec::new();
    for text in texts {
        for (_, rest) in text.match_indices(SCHEME).map(|(at, _)| text.split_at(at + SCHEME.len())) {
            let end = rest.find(|character| !is_part(character)).unwrap_or(rest.len());
            let mention = rest[..end].trim_matches(['.', '/']);
            if !mention.is_empty() && !found.iter().any(|known| known == mention) {
                found.push(mention.to_owned());
            }
            if found.len() == MOST_MENTIONS {
                return found;
            }
        }
    }
    found
}

/// The references in `adapterConfig.paperclipSkillSync.desiredSkills`, trimmed, each once.
pub fn desired(adapter_config: &Value) -> Vec<String> {
    let listed = adapter_config.pointer("/paperclipSkillSync/desiredSkills").and_then(Value::as_array);
    let mut desired: Vec<String> = Vec::new();
    for reference in listed.into_iter().flatten().filter_map(Value::as_str).map(str::trim) {
        if !reference.is_empty() && !desired.iter().any(|known| known == reference) {
            desired.push(reference.to_owned());
        }
    }
    desired
}

/// Which skills a run gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chosen {
    /// Places in what was offered, in its order, and whether only the issue asks for it.
    pub given: Vec<(usize, bool)>,
    /// References that are no skill's.
    pub unknown: Vec<String>,
}

/// Chooses among what is offered.
pub fn choose(offered: &[Offered], desired: &[String], mentioned: &[String]) -> Chosen {
    let mut asked: Vec<Option<bool>> =
        offered.iter().map(|skill| skill.is_required.then_some(false)).collect();
    let mut unknown = Vec::new();
    for (references, only_mentioned) in [(desired, false), (mentioned, true)] {
        for reference in references {
            match place(offered, reference) {
                Some(at) => asked[at] = Some(asked[at].unwrap_or(only_mentioned) && only_mentioned),
                None => unknown.push(reference.clone()),
            }
        }
    }
    let given = asked.iter().enumerate().filter_map(|(at, asked)| Some((at, (*asked)?))).collect();
    Chosen { given, unknown }
}

/// The skill that a reference means: by id or key, else by its folder, else by the last part of its key, where that is
/// one skill's alone. Letters count the same in both cases.
pub fn place(offered: &[Offered], reference: &str) -> Option<usize> {
    let same = |text: &str| text.eq_ignore_ascii_case(reference);
    let only = |fits: &dyn Fn(&Offered) -> bool| {
        let mut places = offered.iter().enumerate().filter(|(_, skill)| fits(skill)).map(|(at, _)| at);
        places.next().filter(|_| places.next().is_none())
    };
    only(&|skill| same(&skill.key) || skill.id.as_deref().is_some_and(same))
        .or_else(|| only(&|skill| same(&skill.name)))
        .or_else(|| only(&|skill| skill.key.rsplit('/').next().is_some_and(same)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn offered(key: &str, name: &str, id: Option<&str>, is_required: bool) -> Offered {
        Offered { key: key.into(), name: name.into(), id: id.map(Into::into), is_required }
    }

    #[test]
    fn the_top_of_a_skill_says_its_name_and_what_it_is_for() {
        let read =
            front("---\nname: review \ndescription: \"How we: review\"\n  nested: x\n---\nname: not this");
        assert_eq!(read, Front { name: Some("review".into()), description: Some("How we: review".into()) });
        for text in ["", "# Review", "name: x", "---\n# name: x\nname:\n---", "\u{FEFF}---\n---\n"] {
            assert_eq!(front(text), Front::default(), "{text:?}");
        }
        assert_eq!(slug(" Code Review! ").as_deref(), Some("code-review"));
        assert_eq!((slug("../.."), slug("é")), (None, None));
        assert_eq!(slug(&"x".repeat(99)).map(|slug| slug.len()), Some(LONGEST_SLUG));
    }

    #[test]
    fn skill_mentions_are_collected_from_all_texts_of_an_issue() {
        // A10.3 of the catalogue.
        let texts =
            ["Use [review](skill://acme/review).", "skill://0192-a, skill://acme/review; skill:// nothing"];
        assert_eq!(mentions(texts), ["acme/review", "0192-a"]);
        let many: String = (0..50).map(|at| format!("skill://s{at} ")).collect();
        assert_eq!(mentions([many.as_str()]).len(), MOST_MENTIONS);
        assert_eq!(mentions(["skill://../../etc/passwd"]), ["etc/passwd"]);
    }

    #[test]
    fn mentioned_skills_are_added_to_those_of_the_agent() {
        // A10.4 of the catalogue.
        let all = [
            offered("bugle/bugle", "bugle", None, true),
            offered("acme/review", "review", Some("i1"), false),
            offered("acme/tests", "tests", Some("i2"), false),
            offered("beta/tests", "tests-beta", Some("i3"), false),
        ];
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        type Row<'a> = (&'a [&'a str], &'a [&'a str], &'a [(usize, bool)], &'a [&'a str]);
        let rows: &[Row<'_>] = &[
            (&[], &[], &[(0, false)], &[]),
            (&["ACME/review"], &["i2"], &[(0, false), (1, false), (2, true)], &[]),
            // Asked for by both, it is the agent's.
            (&["review"], &["i1"], &[(0, false), (1, false)], &[]),
            (&[], &["bugle"], &[(0, false)], &[]),
            (&["nothing"], &["i9"], &[(0, false)], &["nothing", "i9"]),
        ];
        for (at, (desired, mentioned, given, unknown)) in rows.iter().enumerate() {
            let chosen = choose(&all, &texts(desired), &texts(mentioned));
            assert_eq!((chosen.given.as_slice(), chosen.unknown), (*given, texts(unknown)), "row {at}");
        }
        assert_eq!(place(&all, "tests"), Some(2), "a folder goes before the end of a key");
        assert_eq!(place(&[all[2].clone(), offered("beta/tests", "other", None, false)], "TESTS"), Some(0));
        let twins = [offered("a/x", "ax", None, false), offered("b/x", "bx", None, false)];
        assert_eq!(place(&twins, "x"), None, "it means two");
        let config = json!({ "paperclipSkillSync": { "desiredSkills": [" a ", "b", "a", "", 7] } });
        assert_eq!((desired(&config), desired(&json!({}))), (texts(&["a", "b"]), vec![]));
    }
}
