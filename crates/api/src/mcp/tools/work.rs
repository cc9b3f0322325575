//! What came out of an issue: its work products.

use axum::http::Method;
use domain::issue::products::{HEALTHS, KINDS, REVIEW_STATES, STATUSES};
use serde_json::json;

use super::super::arguments::{anything, flag, issue, object, text, word};
use super::super::desk::step;
use super::{Effect, Tool};

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "list_work_products",
        title: "List work products",
        about: "Lists what came out of an issue: pull requests, branches, commits, previews, documents, files.",
        effect: Effect::Reads,
        takes: || object([("issue", issue())], &[]),
        does: |desk, given| {
            Box::pin(async move {
                Ok(desk.get(&format!("/issues/{}/work-products", desk.issue(&given).await?)).await?.into())
            })
        },
    },
    Tool {
        name: "report_work_product",
        title: "Hand in a work product",
        about: "Says what came out of an issue, so that people find it: a pull request, a branch, a commit, a preview, a \
                document, a file. Ask for a review with reviewState needs_board_review.",
        effect: Effect::Adds,
        takes: || {
            object(
                [
                    ("issue", issue()),
                    ("type", word(&KINDS, "what it is")),
                    ("title", text("what it is called")),
                    ("url", text("where it is: an absolute address")),
                    ("provider", text("who keeps it, for example github; default local")),
                    ("externalId", text("its id there, for example the number of a pull request")),
                    ("summary", text("what is in it")),
                    ("status", word(&STATUSES, "default active")),
                    ("reviewState", word(&REVIEW_STATES, "default none")),
                    ("isPrimary", flag("it is the one of its type that counts")),
                    ("healthStatus", word(&HEALTHS, "of what runs: default unknown")),
                    ("metadata", anything("further fields")),
                ],
                &["type", "title"],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let mut body = given.body(&FIELDS);
                body.entry("provider").or_insert_with(|| json!("local"));
                let path = format!("/issues/{}/work-products", desk.issue(&given).await?);
                Ok(desk.send(Method::POST, &path, body).await?.into())
            })
        },
    },
    Tool {
        name: "update_work_product",
        title: "Change a work product",
        about: "Changes a work product that was handed in, for example its status when a pull request is merged.",
        effect: Effect::Sets,
        takes: || {
            object(
                [
                    ("workProductId", text("the id of the work product")),
                    ("title", text("what it is called")),
                    ("url", text("where it is: an absolute address")),
                    ("summary", text("what is in it")),
                    ("status", word(&STATUSES, "the new status")),
                    ("reviewState", word(&REVIEW_STATES, "the new state of its review")),
                    ("isPrimary", flag("it is the one of its type that counts")),
                    ("healthStatus", word(&HEALTHS, "of what runs")),
                    ("metadata", anything("further fields; replaces those before")),
                ],
                &["workProductId"],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let path =
                    format!("/work-products/{}", step(given.text("workProductId").unwrap_or_default()));
                Ok(desk.send(Method::PATCH, &path, given.body(&FIELDS)).await?.into())
            })
        },
    },
];

const FIELDS: [&str; 11] = [
    "type",
    "title",
    "url",
    "provider",
    "externalId",
    "summary",
    "status",
    "reviewState",
    "isPrimary",
    "healthStatus",
    "metadata",
];
