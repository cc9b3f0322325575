//! What branches and folders of workspaces are called: whatever titles and addresses say, nothing of it escapes.

/// The longest name of a branch.
const LONGEST: usize = 120;
const FALLBACK: &str = "bugle-work";
/// What branches are called when nobody says.
pub const TEMPLATE: &str = "{{issue.identifier}}-{{slug}}";

/// What a template may name.
#[derive(Debug, Clone, Copy, Default)]
pub struct Names<'a> {
    pub issue_id: &'a str,
    pub issue_identifier: &'a str,
    pub issue_title: &'a str,
    pub agent_id: &'a str,
    pub agent_name: &'a str,
    pub project_id: &'a str,
    pub repo_ref: &'a str,
}

/// The name of a branch, made of a template.
pub fn branch(template: &str, names: &Names<'_>) -> String {
    let slug = slug(names);
    let mut text = template.to_owned();
    for (key, value) in [
        ("issue.id", names.issue_id),
        ("issue.identifier", names.issue_identifier),
        ("issue.title", names.issue_title),
        ("agent.id", names.agent_id),
        ("agent.name", names.agent_name),
        ("project.id", names.project_id),
        ("workspace.repoRef", names.repo_ref),
        ("slug", &slug),
    ] {
        for spelt in [format!("{{{{{key}}}}}"), format!("{{{{ {key} }}}}")] {
            text = text.replace(&spelt, value);
        }
    }
    sanitised(&text)
}

fn slug(names: &Names<'_>) -> String {
    let of = |text: &str| {
        let text: String = text
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '-' })
            .collect();
        collapsed(&text).trim_matches('-').to_owned()
    };
    [names.issue_title, names.issue_identifier, names.issue_id]
        .into_iter()
        .map(of)
        .find(|slug| !slug.is_empty())
        .unwrap_or_else(|| "issue".to_owned())
}

/// A name that git takes for a branch, of whatever text.
pub fn sanitised(text: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "._/-".contains(c) { c } else { '-' };
    let text: String = collapsed(&text.chars().map(allowed).collect::<String>());
    let parts = text.split('/').map(|part| {
        // git takes no part that begins with a dot, ends in one or in `.lock`, or has two in a row.
        let mut part = part.trim_matches(['.', '-']).to_owned();
        while part.contains("..") {
            part = part.replace("..", ".");
        }
        while let Some(rest) = part.strip_suffix(".lock") {
            part = rest.trim_end_matches(['.', '-']).to_owned();
        }
        part
    });
    let whole = parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    let cut: String = whole.chars().take(LONGEST).collect();
    let cut = cut.trim_matches(['-', '/', '.']).trim_end_matches(".lock");
    // `HEAD` as a branch is refused by git, and `refs/...` would be misread.
    if cut.is_empty() || cut == "HEAD" || cut.starts_with("refs/") {
        FALLBACK.to_owned()
    } else {
        cut.to_owned()
    }
}

fn collapsed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if !(c == '-' && out.ends_with('-')) {
            out.push(c);
        }
    }
    out
}

/// The name with a number behind it, from the second on: a branch that is taken is not shared.
pub fn numbered(branch: &str, number: u32) -> String {
    if number < 2 {
        return branch.to_owned();
    }
    let tail = format!("-{number}");
    let head: String = branch.chars().take(LONGEST - tail.len()).collect();
    format!("{}{tail}", head.trim_end_matches(['-', '/', '.']))
}

/// One part of a path, of whatever text.
pub fn segment(text: &str, fallback: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let is_plain = c.is_ascii_alphanumeric() || "._-".contains(c);
        if is_plain {
            out.push(c);
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    let out: String = out.chars().take(LONGEST).collect();
    let out = out.trim_matches('-');
    // A part of dots only would lead out of the folder.
    if out.chars().all(|c| c == '.') { fallback.to_owned() } else { out.to_owned() }
}

/// The last part of a repository's address; what is no address has the name of the default folder.
pub fn repository(url: &str) -> String {
    const DEFAULT: &str = "_default";
    let Some((_, rest)) = url.split_once("://") else { return DEFAULT.to_owned() };
    let path = rest.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let Some((_, last)) = path.rsplit_once('/') else { return DEFAULT.to_owned() };
    segment(last.strip_suffix(".git").unwrap_or(last), DEFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_in_and_made_safe() {
        let names = Names {
            issue_id: "i-1",
            issue_identifier: "ACM-7",
            issue_title: "Fix: the Ünsafe $(title)!",
            agent_name: "Ada L.",
            repo_ref: "main",
            ..Names::default()
        };
        for (template, expected) in [
            (TEMPLATE, "ACM-7-fix-the-nsafe-title"),
            ("feat/{{agent.name}}/{{ issue.identifier }}", "feat/Ada-L/ACM-7"),
            ("{{workspace.repoRef}}..{{issue.id}}.lock", "main.i-1"),
            ("{{nothing}}", "nothing"),
            ("///", "bugle-work"),
            ("HEAD", "bugle-work"),
            ("refs/heads/x", "bugle-work"),
            ("-rf", "rf"),
        ] {
            assert_eq!(branch(template, &names), expected, "{template}");
        }
        assert_eq!(branch(TEMPLATE, &Names::default()), "issue");
        let long = "x".repeat(300);
        assert_eq!(branch("{{issue.title}}", &Names { issue_title: &long, ..names }).len(), LONGEST);
    }

    #[test]
    fn whatever_the_text_git_takes_the_name() {
        for text in [
            "a..b",
            "a/.b",
            "a.lock/b",
            "a.lock.lock",
            "a//b",
            "a@{b",
            "a~^:?*[\\b",
            "\u{7f}",
            "a/",
            ".",
            "é",
        ] {
            let name = sanitised(text);
            let parts_are_fine = name.split('/').all(|part| {
                !part.is_empty()
                    && !part.starts_with(['.', '-'])
                    && !part.ends_with('.')
                    && !part.ends_with(".lock")
            });
            assert!(parts_are_fine && !name.contains(".."), "{text:?} became {name:?}");
        }
    }

    #[test]
    fn a_taken_branch_gets_a_number_within_the_limit() {
        assert_eq!(numbered("a", 1), "a");
        assert_eq!(numbered("a", 2), "a-2");
        assert_eq!(numbered(&"x".repeat(LONGEST), 12).len(), LONGEST);
    }

    #[test]
    fn parts_of_paths_stay_parts() {
        for (text, expected) in
            [("a b/c", "a-b-c"), ("..", "f"), ("", "f"), ("--", "f"), ("ok.1", "ok.1"), ("../x", "..-x")]
        {
            assert_eq!(segment(text, "f"), expected, "{text:?}");
        }
        for (url, expected) in [
            ("https://host/team/repo.git", "repo"),
            ("https://host/team/repo/", "repo"),
            ("file:///srv/r", "r"),
            ("https://host", "_default"),
            ("git@host:team/repo.git", "_default"),
        ] {
            assert_eq!(repository(url), expected, "{url}");
        }
    }
}
