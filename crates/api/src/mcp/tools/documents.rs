//! Documents of an issue, its plan first of all, and its attachments.

use axum::http::{Method, StatusCode};

use super::super::arguments::{issue, object, text};
use super::super::desk::{Refused, Told, step};
use super::{Effect, Tool};

const PLAN: &str = "plan";
const READ_FIRST: &str = "somebody wrote it before you: `read_document`, work their text in, and send its latestRevisionId as baseRevisionId";

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "list_documents",
        title: "List documents",
        about: "Lists the documents of an issue with their text: its plan, notes, designs.",
        effect: Effect::Reads,
        takes: || object([("issue", issue())], &[]),
        does: |desk, given| {
            Box::pin(async move {
                Ok(desk.get(&format!("/issues/{}/documents", desk.issue(&given).await?)).await?.into())
            })
        },
    },
    Tool {
        name: "read_document",
        title: "Read a document",
        about: "Shows a document of an issue. Its latestRevisionId is what `write_document` wants as baseRevisionId.",
        effect: Effect::Reads,
        takes: || object([("issue", issue()), ("key", text("which document; default plan"))], &[]),
        does: |desk, given| {
            Box::pin(async move {
                let key = step(given.text("key").unwrap_or(PLAN));
                Ok(desk.get(&format!("/issues/{}/documents/{key}", desk.issue(&given).await?)).await?.into())
            })
        },
    },
    Tool {
        name: "document_history",
        title: "Read a document's history",
        about: "Lists the revisions of a document, newest first, each with its text and who wrote it.",
        effect: Effect::Reads,
        takes: || object([("issue", issue()), ("key", text("which document; default plan"))], &[]),
        does: |desk, given| {
            Box::pin(async move {
                let key = step(given.text("key").unwrap_or(PLAN));
                let path = format!("/issues/{}/documents/{key}/revisions", desk.issue(&given).await?);
                Ok(desk.get(&path).await?.into())
            })
        },
    },
    Tool {
        name: "write_document",
        title: "Write a document",
        about: "Creates a document of an issue or replaces its text; older revisions are kept. To change one, read it \
                first and send its latestRevisionId as baseRevisionId. A plan belongs into the document `plan`.",
        effect: Effect::Sets,
        takes: || {
            object(
                [
                    ("issue", issue()),
                    ("key", text("which document: small letters, digits, - and _; default plan")),
                    ("title", text("its title; left out, it has none")),
                    ("body", text("the whole text, Markdown")),
                    ("baseRevisionId", text("the revision that you changed; left out for a new document")),
                    ("changeSummary", text("what you changed")),
                ],
                &["body"],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let key = step(given.text("key").unwrap_or(PLAN));
                let mut body = given.body(&["title", "body", "baseRevisionId", "changeSummary"]);
                body.insert("format".to_owned(), "markdown".into());
                let path = format!("/issues/{}/documents/{key}", desk.issue(&given).await?);
                let written = desk.send(Method::PUT, &path, body).await;
                Ok(written.map_err(|refused| refused.next(StatusCode::CONFLICT, READ_FIRST))?.into())
            })
        },
    },
    Tool {
        name: "list_attachments",
        title: "List attachments",
        about: "Lists the files of an issue, newest first.",
        effect: Effect::Reads,
        takes: || object([("issue", issue())], &[]),
        does: |desk, given| {
            Box::pin(async move {
                Ok(desk.get(&format!("/issues/{}/attachments", desk.issue(&given).await?)).await?.into())
            })
        },
    },
    Tool {
        name: "read_attachment",
        title: "Read an attachment",
        about: "Shows the text of a file of an issue. Files that are no text are to be fetched over HTTP from their \
                contentPath, with the key of your run.",
        effect: Effect::Reads,
        takes: || object([("attachmentId", text("the id of the attachment"))], &["attachmentId"]),
        does: |desk, given| {
            Box::pin(async move {
                let id = step(given.text("attachmentId").unwrap_or_default());
                let answer = desk.ask(Method::GET, &format!("/attachments/{id}/content"), None).await?;
                let value =
                    serde_json::json!({ "contentType": answer.content_type, "byteSize": answer.bytes.len() });
                match String::from_utf8(answer.bytes) {
                    Ok(text) => Ok(Told { value, text: Some(text) }),
                    Err(_) => Err(Refused::because(
                        "no_text",
                        format!("the file is {} and no text", answer.content_type),
                        "fetch it over HTTP from its contentPath",
                    )),
                }
            })
        },
    },
    Tool {
        name: "attach_text",
        title: "Attach a text file",
        about: "Adds a text file to an issue: a log, a patch, a table. For what people should read use a comment or a \
                document.",
        effect: Effect::Adds,
        takes: || {
            object(
                [
                    ("issue", issue()),
                    ("filename", text("the name of the file")),
                    ("contentType", text("default text/plain")),
                    ("text", text("what is in it")),
                ],
                &["filename", "text"],
            )
        },
        does: |desk, given| {
            Box::pin(async move {
                let path = format!(
                    "/companies/{}/issues/{}/attachments",
                    desk.company().await?,
                    desk.issue(&given).await?
                );
                let (name, kind) = (
                    given.text("filename").unwrap_or_default(),
                    given.text("contentType").unwrap_or("text/plain; charset=utf-8"),
                );
                if [name, kind].iter().any(|text| text.contains(['"', '\r', '\n', '\\'])) {
                    return Err(Refused::because(
                        "bad_arguments",
                        "filename and contentType must not hold quotes, backslashes or line ends",
                        "choose another name",
                    ));
                }
                let text = given.text("text").unwrap_or_default();
                let border = border(text);
                let body = format!(
                    "--{border}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
                     Content-Type: {kind}\r\n\r\n{text}\r\n--{border}--\r\n"
                );
                let form = format!("multipart/form-data; boundary={border}");
                let answer = desk.ask(Method::POST, &path, Some((&form, body.into_bytes()))).await?;
                Ok(serde_json::from_slice::<serde_json::Value>(&answer.bytes).unwrap_or_default().into())
            })
        },
    },
];

/// A border that the text does not hold.
fn border(text: &str) -> String {
    let mut border = "bugle-border".to_owned();
    while text.contains(&border) {
        border.push('-');
    }
    border
}

#[cfg(test)]
mod tests {
    use super::border;

    #[test]
    fn no_text_ends_its_own_form() {
        assert_eq!(border("x"), "bugle-border");
        assert_eq!(border("--bugle-border--\r\nbugle-border---"), "bugle-border----");
    }
}
