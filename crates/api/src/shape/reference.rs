//! What the texts of an issue refer to: other issues by identifier, projects by link, and the plan that stood in a
//! description before there were documents.
//!
//! Only what an issue itself says is looked at. Who refers to it would take reading all texts of the company, so
//! `inbound` stays empty.

use serde::Serialize;
use store::issues::Issue as Row;
use utoipa::ToSchema;

use super::issue::RelationSummary;

/// Other issues that texts connect with this one.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(crate) struct RelatedWork {
    outbound: Vec<RelatedWorkItem>,
    inbound: Vec<RelatedWorkItem>,
}

/// An issue that is mentioned.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RelatedWorkItem {
    issue: RelationSummary,
    mention_count: usize,
    sources: Vec<ReferenceSource>,
}

/// Where it is mentioned.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReferenceSource {
    /// `title`, `description`, `comment` or `document`.
    kind: &'static str,
    source_record_id: Option<String>,
    label: &'static str,
    matched_text: Option<String>,
}

impl RelatedWork {
    /// What title and description of an issue mention, of the issues that exist.
    pub(crate) fn of(row: &Row, mentioned: &[Row]) -> RelatedWork {
        let outbound = mentioned.iter().map(|found| {
            let title = count(&row.title, &found.identifier);
            let description = count(row.description.as_deref().unwrap_or_default(), &found.identifier);
            let source = |kind, label, count: usize| {
                (count > 0).then(|| ReferenceSource {
                    kind,
                    source_record_id: None,
                    label,
                    matched_text: Some(found.identifier.clone()),
                })
            };
            RelatedWorkItem {
                issue: found.into(),
                mention_count: title + description,
                sources: [source("title", "title", title), source("description", "description", description)]
                    .into_iter()
                    .flatten()
                    .collect(),
            }
        });
        RelatedWork { outbound: outbound.collect(), inbound: Vec::new() }
    }
}

/// How often a text names an identifier, as a word of its own.
fn count(text: &str, identifier: &str) -> usize {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).filter(|word| *word == identifier).count()
}

/// A plan that stands in a description.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct LegacyPlanDocument {
    /// Always `plan`.
    key: &'static str,
    body: String,
    /// Always `issue_description`.
    source: &'static str,
}

impl LegacyPlanDocument {
    /// The `<plan>` block of a description.
    pub(crate) fn of(description: Option<&str>) -> Option<LegacyPlanDocument> {
        let (_, rest) = description?.split_once("<plan>")?;
        let (body, _) = rest.split_once("</plan>")?;
        let body = body.trim();
        (!body.is_empty()).then(|| LegacyPlanDocument {
            key: "plan",
            body: body.to_owned(),
            source: "issue_description",
        })
    }
}

/// The ids of the projects that a text links to (`[name](project://<id>)`), each once.
pub(crate) fn projects_in(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (at, _) in text.match_indices("project://") {
        let id = text.get(at + 10..at + 46).unwrap_or_default().to_ascii_lowercase();
        if domain::ids::looks_like_id(&id) && !found.contains(&id) {
            found.push(id);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_counts_as_a_word_of_its_own() {
        for (text, times) in [("BUG-1", 1), ("see BUG-1, BUG-1.", 2), ("BUG-12 XBUG-1 BUG-1-2", 0), ("", 0)] {
            assert_eq!(count(text, "BUG-1"), times, "{text}");
        }
    }

    #[test]
    fn a_plan_stands_between_its_marks() {
        let body = |text| LegacyPlanDocument::of(Some(text)).map(|plan| plan.body);
        assert_eq!(body("a <plan>\n1. do it\n</plan> b"), Some("1. do it".to_owned()));
        for text in ["none", "<plan> open", "<plan> </plan>", "</plan><plan>"] {
            assert_eq!(body(text), None, "{text}");
        }
        assert_eq!(LegacyPlanDocument::of(None), None);
    }

    #[test]
    fn links_to_projects_are_found_once() {
        let id = "0192f7a0-0000-4000-8000-00000000000a";
        let text = format!("[a](project://{id}) ä [b](project://{}) project://x", id.to_uppercase());
        assert_eq!(projects_in(&text), [id]);
        assert_eq!(projects_in("project://ääääääääääääääääääääääääääääää"), Vec::<String>::new());
    }
}
