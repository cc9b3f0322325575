//! Which company a command is about: the one named, or the only one there is.

use serde_json::Value as Json;

use crate::client::Client;
use crate::failure::Failure;

/// Returns the id of the company.
pub(crate) async fn choose(client: &Client, wanted: Option<&str>) -> Result<String, Failure> {
    let companies = client.get("/companies").await?;
    pick(companies.as_array().map(Vec::as_slice).unwrap_or_default(), wanted)
}

fn pick(companies: &[Json], wanted: Option<&str>) -> Result<String, Failure> {
    let text =
        |company: &Json, key: &str| company.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let names = || companies.iter().map(|company| text(company, "name")).collect::<Vec<_>>().join(", ");
    let matching: Vec<&Json> = match wanted.map(str::trim).filter(|wanted| !wanted.is_empty()) {
        None => companies.iter().collect(),
        Some(wanted) => companies
            .iter()
            .filter(|company| {
                text(company, "id") == wanted
                    || text(company, "name").eq_ignore_ascii_case(wanted)
                    || text(company, "issuePrefix").eq_ignore_ascii_case(wanted)
            })
            .collect(),
    };
    match (matching.as_slice(), wanted) {
        ([one], _) => Ok(text(one, "id")),
        ([], _) if companies.is_empty() => Err(Failure::usage("company.none", "there is no company yet")
            .hint("make one: bugle company create \"My company\"")),
        ([], Some(wanted)) => {
            Err(Failure::usage("company.unknown", format!("there is no company `{wanted}`"))
                .hint(format!("there is: {}", names())))
        }
        ([_, _, ..], Some(wanted)) => {
            Err(Failure::usage("company.ambiguous", format!("several companies are called `{wanted}`"))
                .hint("name it by its id: bugle company list"))
        }
        ([], None) | ([_, _, ..], None) => {
            Err(Failure::usage("company.ambiguous", "there are several companies; say which one is meant")
                .hint(format!("add --company NAME, or set BUGLE_COMPANY; there is: {}", names())))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn two() -> Vec<Json> {
        vec![
            json!({"id": "1", "name": "Acme", "issuePrefix": "ACM"}),
            json!({"id": "2", "name": "Umbrella", "issuePrefix": "UMB"}),
        ]
    }

    #[test]
    fn the_only_company_need_not_be_named() {
        assert_eq!(pick(&two()[..1], None).unwrap(), "1");
        assert_eq!(pick(&[], None).unwrap_err().code, "company.none");
        assert_eq!(pick(&two(), None).unwrap_err().code, "company.ambiguous");
    }

    #[test]
    fn a_company_is_named_by_id_name_or_prefix() {
        for name in ["2", "umbrella", "UMB"] {
            assert_eq!(pick(&two(), Some(name)).unwrap(), "2", "{name}");
        }
        let unknown = pick(&two(), Some("Initech")).unwrap_err();
        assert_eq!(
            (unknown.code.as_str(), unknown.hint.as_deref()),
            ("company.unknown", Some("there is: Acme, Umbrella"))
        );
    }
}
